package ruleset

import (
	"bytes"
	"fmt"
)

// Convert makes mrs of a set of format f, and text of mrs. Warnings are the entries that are not in
// the result.
func Convert(b Behavior, f Format, src []byte) ([]byte, Warnings, error) {
	to := MRS
	if f == MRS {
		to = Text
	}
	var out bytes.Buffer
	switch b {
	case Domain:
		set, warnings, err := ReadDomains(src, f)
		if err == nil {
			err = WriteDomains(&out, set, to)
		}
		return out.Bytes(), warnings, err
	case IPCIDR:
		set, warnings, err := ReadPrefixes(src, f)
		if err == nil {
			err = WritePrefixes(&out, set, to)
		}
		return out.Bytes(), warnings, err
	}
	return nil, Warnings{}, fmt.Errorf("sets of behavior %v have no binary form", b)
}
