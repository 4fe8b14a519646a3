package geo

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"

	"github.com/switchyard-proxy/switchyard/relay/match"
)

// real returns a file of real data. They are not ours to publish, so they are not part of the project:
// SWITCHYARD_DATA names the folder that holds them in its subfolder geo.
func real(t testing.TB, name string) []byte {
	t.Helper()
	dir := os.Getenv("SWITCHYARD_DATA")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "data")
	}
	b, err := os.ReadFile(filepath.Join(dir, "geo", name))
	if err != nil {
		t.Skipf("no real data: SWITCHYARD_DATA names no folder with geo/%s", name)
	}
	return b
}

// num and str are protobuf fields, a number and bytes.
func num(id, v uint64) string {
	return string(binary.AppendUvarint(binary.AppendUvarint(nil, id<<3), v))
}

func str(id uint64, fields ...string) string {
	var body string
	for _, f := range fields {
		body += f
	}
	return string(binary.AppendUvarint(binary.AppendUvarint(nil, id<<3|2), uint64(len(body)))) + body
}

// site is a domain of a list; its attributes are keys.
func site(kind uint64, value string, keys ...string) string {
	body := num(1, kind) + str(2, value)
	if kind == 0 {
		body = str(2, value) // proto3 leaves out what is zero
	}
	for _, k := range keys {
		body += str(3, str(1, k), num(2, 1))
	}
	return str(2, body)
}

func cidr(text string) string {
	p := netip.MustParsePrefix(text)
	body := str(1, string(p.Addr().AsSlice()))
	if p.Bits() > 0 {
		body += num(2, uint64(p.Bits()))
	}
	return str(2, body)
}

// list is an entry of either .dat file.
func list(code string, entries ...string) string {
	return str(1, append([]string{str(1, code)}, entries...)...)
}

func name(host string) *match.Name {
	n := new(match.Name)
	n.Set(host)
	return n
}

// network is one of an .mmdb file.
type network struct {
	prefix string
	data   mmdbtype.DataType
}

// dbOf writes an .mmdb file; later networks replace those before them.
func dbOf(t testing.TB, o mmdbwriter.Options, networks ...network) []byte {
	t.Helper()
	o.IncludeReservedNetworks = true
	w, err := mmdbwriter.New(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range networks {
		_, ipnet, err := net.ParseCIDR(n.prefix)
		if err == nil {
			err = w.Insert(ipnet, n.data)
		}
		if err != nil {
			t.Fatalf("%s: %v", n.prefix, err)
		}
	}
	var b bytes.Buffer
	if _, err := w.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// country is a record of GeoLite2-Country, with what else stands there.
func country(code string) mmdbtype.Map {
	names := mmdbtype.Map{"en": mmdbtype.String("The " + code), "de": mmdbtype.String("Das " + code)}
	return mmdbtype.Map{
		"continent":          mmdbtype.Map{"code": mmdbtype.String("XX"), "names": names},
		"country":            mmdbtype.Map{"iso_code": mmdbtype.String(code), "geoname_id": mmdbtype.Uint32(7), "names": names},
		"registered_country": mmdbtype.Map{"iso_code": mmdbtype.String("ZZ")},
		"traits":             mmdbtype.Slice{mmdbtype.Bool(true), mmdbtype.Float64(1.5), mmdbtype.Slice{}},
	}
}

func system(number uint32, name string) mmdbtype.Map {
	return mmdbtype.Map{
		"autonomous_system_number":       mmdbtype.Uint32(number),
		"autonomous_system_organization": mmdbtype.String(name),
	}
}

func codes(list ...string) mmdbtype.Slice {
	var s mmdbtype.Slice
	for _, c := range list {
		s = append(s, mmdbtype.String(c))
	}
	return s
}
