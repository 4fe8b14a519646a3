package geo

import (
	"errors"
	"math"
	"strconv"
	"strings"

	"github.com/oschwald/maxminddb-golang/v2/mmdbdata"
)

var errRecord = errors.New("a record of it is too large")

const (
	maxWork    = 1 << 25 // values that all records of a file may have
	maxRecord  = 1 << 14 // values that one record may have
	maxEntries = 500     // values that one list or map of it may have
	maxDepth   = 8
	maxText    = 4096
)

// record is what the file says of a network. Which layout it has shows in the data itself:
//
//	"cn", or ["cn", "lan"]                                       sing-geoip, Meta-geoip0
//	{country: {iso_code: "CN"}}                                  GeoLite2-Country
//	{autonomous_system_number, autonomous_system_organization}   GeoLite2-ASN
//	{asn: "AS13335", name}                                       ipinfo
//
// Whatever else there is, is passed over. Records hold pointers to others, so that a small file can
// mean endless work: every value costs one of work.
type record struct {
	codes  []string // in lower case
	number uint32
	name   string
	work   *int
}

// numbers are the number as a list, for there may be none.
func (r *record) numbers() []uint32 {
	if r.number == 0 {
		return nil
	}
	return []uint32{r.number}
}

// UnmarshalMaxMindDBCursor reads the record at c.
func (r *record) UnmarshalMaxMindDBCursor(c mmdbdata.Cursor) (mmdbdata.Cursor, error) {
	kind, err := c.Kind()
	if err != nil {
		return c, err
	}
	switch kind {
	case mmdbdata.KindSlice:
		return r.elements(c, 0, r.code)
	case mmdbdata.KindMap:
		return r.entries(c, 0, r.member)
	default:
		return r.code(c, 0)
	}
}

// member reads a member of the record. Like all that follow, it reads the value at c, which lies depth
// levels deep, and returns what comes after it.
func (r *record) member(key []byte, c mmdbdata.Cursor, depth int) (mmdbdata.Cursor, error) {
	switch string(key) {
	case "country":
		return r.country(c, depth)
	case "autonomous_system_number", "asn":
		return r.system(c, depth)
	case "autonomous_system_organization", "name":
		return r.text(c, depth, &r.name)
	default:
		return r.skip(c, depth)
	}
}

// country reads the map of a country; a few files have only its code there.
func (r *record) country(c mmdbdata.Cursor, depth int) (mmdbdata.Cursor, error) {
	if kind, err := c.Kind(); err != nil || kind != mmdbdata.KindMap {
		return r.code(c, depth)
	}
	return r.entries(c, depth, func(key []byte, c mmdbdata.Cursor, depth int) (mmdbdata.Cursor, error) {
		if string(key) == "iso_code" {
			return r.code(c, depth)
		}
		return r.skip(c, depth)
	})
}

func (r *record) code(c mmdbdata.Cursor, depth int) (mmdbdata.Cursor, error) {
	var code string
	next, err := r.text(c, depth, &code)
	if code != "" {
		r.codes = append(r.codes, strings.ToLower(code))
	}
	return next, err
}

// system reads the number of an autonomous system, 13335 or "AS13335".
func (r *record) system(c mmdbdata.Cursor, depth int) (mmdbdata.Cursor, error) {
	switch kind, err := c.Kind(); {
	case err != nil:
		return c, err
	case kind == mmdbdata.KindUint16, kind == mmdbdata.KindUint32, kind == mmdbdata.KindUint64:
		n, next, err := c.ReadUint()
		if n <= math.MaxUint32 {
			r.number = uint32(n)
		}
		return next, err
	}
	var text string
	next, err := r.text(c, depth, &text)
	if len(text) > 2 && strings.EqualFold(text[:2], "AS") {
		if n, err := strconv.ParseUint(text[2:], 10, 32); err == nil {
			r.number = uint32(n)
		}
	}
	return next, err
}

// text reads a string into s; it passes over what is none.
func (r *record) text(c mmdbdata.Cursor, depth int, s *string) (next mmdbdata.Cursor, err error) {
	if kind, err := c.Kind(); err != nil || kind != mmdbdata.KindString {
		return r.skip(c, depth)
	}
	*s, next, err = c.ReadStringMaxSize(maxText)
	*r.work -= len(*s) / 64 // to copy a long one is work as well
	return next, err
}

// skip passes over a value. It looks into the containers, unlike the skipping of the library, so that
// all of it is counted.
func (r *record) skip(c mmdbdata.Cursor, depth int) (mmdbdata.Cursor, error) {
	kind, err := c.Kind()
	if err != nil {
		return c, err
	}
	switch kind {
	case mmdbdata.KindSlice:
		return r.elements(c, depth, r.skip)
	case mmdbdata.KindMap:
		return r.entries(c, depth, func(_ []byte, c mmdbdata.Cursor, depth int) (mmdbdata.Cursor, error) {
			return r.skip(c, depth)
		})
	default:
		return c.Skip()
	}
}

// entries reads a map.
func (r *record) entries(c mmdbdata.Cursor, depth int,
	read func(key []byte, c mmdbdata.Cursor, depth int) (mmdbdata.Cursor, error),
) (mmdbdata.Cursor, error) {
	m, err := c.MapReader()
	if err != nil {
		return c, err
	}
	if err := r.enter(m.Len(), depth); err != nil {
		return c, err
	}
	c = m.First()
	for range m.Len() {
		key, value, err := c.ReadMapKey()
		if err != nil {
			return c, err
		}
		if c, err = read(key, value, depth+1); err != nil {
			return c, err
		}
	}
	return m.End(c)
}

// elements reads a list.
func (r *record) elements(c mmdbdata.Cursor, depth int,
	read func(c mmdbdata.Cursor, depth int) (mmdbdata.Cursor, error),
) (mmdbdata.Cursor, error) {
	s, err := c.SliceMaxSize(maxEntries)
	if err != nil {
		return c, err
	}
	size, err := s.Size()
	if err != nil {
		return c, err
	}
	if err := r.enter(size, depth); err != nil {
		return c, err
	}
	var next mmdbdata.Cursor
	for _, value, ok := s.Next(next); ok; _, value, ok = s.Next(next) {
		if next, err = read(value, depth+1); err != nil {
			return c, err
		}
	}
	return s.End()
}

// enter pays for the values of a list or map before they are read.
func (r *record) enter(size uint, depth int) error {
	if depth > maxDepth || size > maxEntries || int(size) > *r.work {
		return errRecord
	}
	*r.work -= int(size)
	return nil
}
