package handover

import "os"

// textFile is an open file that has text and no name; nil where there is no text.
func textFile(text []byte) (*os.File, error) {
	if text == nil {
		return nil, nil
	}
	f, err := os.CreateTemp("", "")
	if err != nil {
		return nil, err
	}
	_ = os.Remove(f.Name())
	return filled(f, text)
}
