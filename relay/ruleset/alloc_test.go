//go:build !race

package ruleset

import "testing"

func TestReadAllocs(t *testing.T) {
	const lines = 100_000
	names := manyNames(lines)
	for i := range names {
		if i%4 == 1 {
			names[i] = "WWW." + names[i] // has to be put in lower case
		}
	}
	var addresses []byte
	for i := range lines {
		addresses = appendPrefix4(addresses, i)
	}
	f := func(what string, want float64, read func() error) {
		t.Helper()
		got := testing.AllocsPerRun(3, func() {
			if err := read(); err != nil {
				t.Error(err)
			}
		})
		if got >= want {
			t.Errorf("%s: %v allocations for %d lines, want less than %v", what, got, lines, want)
		}
	}
	domains := func(data []byte, f Format) func() error {
		return func() error {
			_, _, err := ReadDomains(data, f)
			return err
		}
	}
	f("text", 20, domains(textOf(names), Text))
	f("yaml", 20, domains(yamlOf(names), YAML))
	f("mrs", 150, domains(mrsOf(t, Domain, textOf(names)), MRS))
	f("prefixes", 100, func() error {
		_, _, err := ReadPrefixes(addresses, Text)
		return err
	})
}
