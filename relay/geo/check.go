package geo

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
)

var errNothing = errors.New("it holds nothing")

// Check says whether data is a whole file of a kind that Open… and all that follows will take. A
// .dat file that was cut short between two lists passes, for nothing in the format tells.
func Check(k Kind, data []byte) error {
	var err error
	switch k {
	case GeoSiteDat:
		err = checkSites(data)
	case GeoIPDat:
		err = checkIPs(data)
	default:
		err = checkDB(k, data)
	}
	if err == nil {
		return nil
	}
	start := bytes.ToLower(data[:min(512, len(data))])
	if bytes.Contains(start, []byte("<html")) || bytes.Contains(start, []byte("<!doctype")) {
		err = errors.New("it is a web page")
	}
	return fmt.Errorf("no usable %v file: %w", k, err)
}

func checkSites(data []byte) error {
	l, err := openLists(data)
	if err != nil {
		return err
	}
	n := 0
	for name, entries := range l {
		if err := eachDomain(entries, func(d *domain) { n += min(1, len(d.value)) }); err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
	}
	if n == 0 {
		return errNothing
	}
	return nil
}

func checkIPs(data []byte) error {
	l, err := openLists(data)
	if err != nil {
		return err
	}
	n := 0
	for name, entries := range l {
		if _, err := eachPrefix(entries, func(netip.Prefix) { n++ }); err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
	}
	if n == 0 {
		return errNothing
	}
	return nil
}

func checkDB(k Kind, data []byte) error {
	d, err := OpenDB(data)
	if err != nil {
		return err
	}
	if d.kind != k {
		return fmt.Errorf("it is of the kind %v (%q)", d.kind, d.r.Metadata.DatabaseType)
	}
	n := 0
	_, err = collect(d, nil, func(r *record) []string {
		n += len(r.codes) + len(r.numbers())
		return nil
	})
	if err == nil && n == 0 {
		err = errNothing
	}
	return err
}
