package sharelink

import (
	"encoding/json"
	"strings"
)

// text is a JSON value as it would stand in a query: links write numbers and truth values with
// quotes and without, and lists in place of texts with commas. What is none of these is empty.
type text string

// UnmarshalJSON never fails: a value of another kind is empty.
func (t *text) UnmarshalJSON(b []byte) error {
	var value string
	var list []string
	switch {
	case json.Unmarshal(b, &value) == nil:
		*t = text(value)
	case json.Unmarshal(b, &list) == nil:
		*t = text(strings.Join(list, ","))
	case b[0] != '{' && b[0] != '[':
		*t = text(b)
	}
	return nil
}
