package health

import (
	"fmt"
	"strconv"
	"strings"
)

const (
	maxSpans  = 28      // codes and ranges in a list
	maxStatus = 1 << 10 // bytes of a list
	maxCode   = 1<<16 - 1
)

// Status is which response codes are expected. The zero Status is any.
type Status struct{ spans []span }

// span is an inclusive range of codes.
type span struct{ from, to uint16 }

// ParseStatus reads a list such as 200/204/300-399, whose items may also be parted by commas and
// stand in spaces and square brackets. A list without items, and "*", is any code.
func ParseStatus(text string) (Status, error) {
	if len(text) > maxStatus {
		return Status{}, fmt.Errorf("want at most %d bytes of expected codes, got %d", maxStatus, len(text))
	}
	if strings.TrimSpace(text) == "*" {
		return Status{}, nil
	}
	var s Status
	for item := range strings.FieldsFuncSeq(text, func(c rune) bool { return c == '/' || c == ',' }) {
		if item = strings.Trim(item, " []"); item == "" {
			continue
		}
		one, err := parseSpan(item)
		if err != nil {
			return Status{}, err
		}
		s.spans = append(s.spans, one)
	}
	if len(s.spans) > maxSpans {
		return Status{}, fmt.Errorf("want at most %d codes or ranges, got %d", maxSpans, len(s.spans))
	}
	return s, nil
}

func parseSpan(item string) (span, error) {
	from, to, ranged := strings.Cut(item, "-")
	if !ranged {
		to = from
	}
	lo, err1 := strconv.ParseUint(strings.Trim(from, " []"), 10, 64)
	hi, err2 := strconv.ParseUint(strings.Trim(to, " []"), 10, 64)
	if err1 != nil || err2 != nil || lo > maxCode || hi > maxCode {
		return span{}, fmt.Errorf("want a code up to %d or a range such as 200-299, got %q", maxCode, item)
	}
	return span{uint16(min(lo, hi)), uint16(max(lo, hi))}, nil
}

// Has says whether code is expected.
func (s Status) Has(code int) bool {
	for _, one := range s.spans {
		if int(one.from) <= code && code <= int(one.to) {
			return true
		}
	}
	return len(s.spans) == 0
}

// String is the list in its shortest spelling, such as "200-299/404"; "*" is any.
func (s Status) String() string {
	if len(s.spans) == 0 {
		return "*"
	}
	var b []byte
	for i, one := range s.spans {
		if i > 0 {
			b = append(b, '/')
		}
		b = strconv.AppendUint(b, uint64(one.from), 10)
		if one.to != one.from {
			b = strconv.AppendUint(append(b, '-'), uint64(one.to), 10)
		}
	}
	return string(b)
}
