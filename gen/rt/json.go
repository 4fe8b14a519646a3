// Package rt is the run time of the generated server: JSON, parameters, answers and streams.
package rt

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

const hexDigits = "0123456789abcdef"

// plain tells for each ASCII byte whether it stands for itself in a JSON string.
var plain = func() (t [utf8.RuneSelf]bool) {
	for c := range t {
		t[c] = c >= ' ' && c != '"' && c != '\\'
	}
	return t
}()

// AppendString appends s as a JSON string. Bytes that are not UTF-8 become U+FFFD.
func AppendString(b []byte, s string) []byte {
	b = append(b, '"')
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if plain[c] {
				i++
				continue
			}
			b = appendEscaped(append(b, s[from:i]...), c)
			i++
			from = i
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			b = append(append(b, s[from:i]...), "\ufffd"...)
			from = i + n
		case r == '\u2028' || r == '\u2029': // would end a line in a script
			b = append(append(b, s[from:i]...), `\u202`...)
			b = append(b, hexDigits[r&0xf])
			from = i + n
		}
		i += n
	}
	return append(append(b, s[from:]...), '"')
}

func appendEscaped(b []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(b, '\\', c)
	case '\n':
		return append(b, '\\', 'n')
	case '\r':
		return append(b, '\\', 'r')
	case '\t':
		return append(b, '\\', 't')
	}
	return append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&0xf])
}

// Sorted are the keys of m in their order. It uses the room of keys, as far as that goes.
func Sorted[E any](keys []string, m map[string]E) []string {
	keys = keys[:0]
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// AppendTime appends t as a JSON string, RFC 3339 with nanoseconds.
func AppendTime(b []byte, t time.Time) []byte {
	if t.IsZero() { // "never", which lists are full of
		return append(b, `"0001-01-01T00:00:00Z"`...)
	}
	return append(t.AppendFormat(append(b, '"'), time.RFC3339Nano), '"')
}

// AppendStrings appends v as a JSON array, never null.
func AppendStrings(b []byte, v []string) []byte {
	b = append(b, '[')
	for i, s := range v {
		if i > 0 {
			b = append(b, ',')
		}
		b = AppendString(b, s)
	}
	return append(b, ']')
}

// CloseObject ends an object whose members, each with a comma before it, begin at b[n].
func CloseObject(b []byte, n int) []byte {
	if len(b) == n {
		return append(b, '{', '}')
	}
	b[n] = '{'
	return append(b, '}')
}

// InvalidError says which member of a document is wrong, and why.
type InvalidError struct{ Member, Reason string }

// Error returns both.
func (e *InvalidError) Error() string { return e.Member + ": " + e.Reason }

// Invalid returns an InvalidError.
func Invalid(member, reason string) error { return &InvalidError{member, reason} }

// FoldIn tells whether s is one of words, whatever its case.
func FoldIn(s string, words ...string) bool {
	for _, w := range words {
		if strings.EqualFold(s, w) {
			return true
		}
	}
	return false
}

// Object is a JSON object whose members are not decoded yet.
type Object map[string]json.RawMessage

// Members splits the JSON object raw. null is an object without members.
func Members(raw []byte) (Object, error) {
	var o Object
	if err := json.NewDecoder(bytes.NewReader(raw)).Decode(&o); err != nil {
		return nil, err
	}
	return o, nil
}

// Get returns a member, nil if it is absent or null. Names match in any case, as when decoding.
func (o Object) Get(name string) []byte {
	raw, ok := o[name]
	if !ok {
		for k, v := range o {
			if strings.EqualFold(k, name) {
				raw = v
			}
		}
	}
	if string(raw) == "null" {
		return nil
	}
	return raw
}

// Require reports a member that is absent, or null and may not be.
func (o Object) Require(name string, nullable bool) error {
	if o.Get(name) != nil {
		return nil
	}
	if nullable {
		for k := range o {
			if strings.EqualFold(k, name) {
				return nil
			}
		}
	}
	return Invalid(name, "missing")
}

// EachElement calls f for every element of the JSON array raw.
func EachElement(raw []byte, f func(raw []byte) error) error {
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil {
		return err
	}
	for i, e := range list {
		if err := f(e); err != nil {
			return within("["+strconv.Itoa(i)+"]", err)
		}
	}
	return nil
}

// EachMember calls f for every member of the JSON object raw.
func EachMember(raw []byte, f func(raw []byte) error) error {
	o, err := Members(raw)
	if err != nil {
		return err
	}
	for k, e := range o {
		if err := f(e); err != nil {
			return within(k, err)
		}
	}
	return nil
}

// NotNull reports a value that is null.
func NotNull(raw []byte) error {
	if string(raw) == "null" {
		return Invalid("", "null")
	}
	return nil
}

func within(where string, err error) error {
	var e *InvalidError
	if errors.As(err, &e) {
		return Invalid(where+"."+e.Member, e.Reason)
	}
	return err
}
