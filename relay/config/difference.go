package config

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"
)

// named are the sections whose entries have names, which a Plan tells one by one.
var named = []string{"proxies", "proxy-groups", "proxy-providers", "rules", "rule-providers"}

// plainTexts are the strings beside those of a few words that hold no secret. A URL may.
var plainTexts = []string{
	"bind-address", "interface-name", "global-ua", "global-client-fingerprint", "external-controller",
	"external-controller-tls", "external-controller-unix", "external-controller-pipe", "external-ui", "external-ui-name",
	"external-doh-server", "geodata-loader", "geosite-matcher", "dns.listen", "dns.cache-algorithm",
}

// Differences are the settings of a and b that differ, in the order of the schema, but for the sections whose
// entries have names. Places do not count.
func Differences(a, b *Config) []Difference {
	var list []Difference
	differences("", reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem(), &list)
	return list
}

func differences(prefix string, a, b reflect.Value, list *[]Difference) {
	for i := range a.NumField() {
		f := a.Type().Field(i)
		key, tagged := f.Tag.Lookup("key")
		key, _, _ = strings.Cut(key, ",")
		whole := f.Anonymous || f.Name == "Controller" || f.Name == "Geo" // whose keys are those of the level above
		switch {
		case !f.IsExported() || !tagged && !whole || prefix == "" && slices.Contains(named, key):
		case !tagged:
			differences(prefix, a.Field(i), b.Field(i), list)
		case f.Type.Kind() == reflect.Struct && f.Type != prefixType:
			differences(prefix+key+".", a.Field(i), b.Field(i), list)
		case !same(a.Field(i), b.Field(i)):
			s := Difference{Key: prefix + key, Shown: f.Tag.Get("secret") == "" && isShown(prefix+key, f)}
			if s.Shown {
				s.Before, s.After = fmt.Sprint(a.Field(i)), fmt.Sprint(b.Field(i))
			}
			*list = append(*list, s)
		}
	}
}

var (
	prefixType   = reflect.TypeFor[netip.Prefix]()
	durationType = reflect.TypeFor[time.Duration]()
	posType      = reflect.TypeFor[Pos]()
	placesType   = reflect.TypeFor[Places]()
)

// isShown says whether the value of a key can hold no secret.
func isShown(key string, f reflect.StructField) bool {
	t := f.Type
	switch t.Kind() {
	case reflect.Bool, reflect.Int:
		return true
	case reflect.String:
		return f.Tag.Get("one") != "" || slices.Contains(plainTexts, key)
	}
	return t == durationType || t == prefixType || t.Kind() == reflect.Slice && t.Elem() == prefixType
}

// same compares what a and b say, wherever it stands.
func same(a, b reflect.Value) bool {
	switch {
	case a.Type() == posType || a.Type() == placesType:
		return true
	case a.Type() == prefixType:
		return a.Equal(b)
	}
	switch a.Kind() {
	case reflect.Struct:
		for i := range a.NumField() {
			if !same(a.Field(i), b.Field(i)) {
				return false
			}
		}
		return true
	case reflect.Slice:
		if a.Len() != b.Len() || a.IsNil() != b.IsNil() {
			return false
		}
		for i := range a.Len() {
			if !same(a.Index(i), b.Index(i)) {
				return false
			}
		}
		return true
	case reflect.Map:
		if a.Len() != b.Len() {
			return false
		}
		for _, k := range a.MapKeys() {
			if other := b.MapIndex(k); !other.IsValid() || !same(a.MapIndex(k), other) {
				return false
			}
		}
		return true
	case reflect.Pointer:
		if a.IsNil() || b.IsNil() {
			return a.IsNil() && b.IsNil()
		}
		return same(a.Elem(), b.Elem())
	}
	return a.Equal(b)
}

// Same says whether two parts of configurations are the same. Places do not count.
func Same[T any](a, b *T) bool { return same(reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem()) }
