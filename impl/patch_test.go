package impl

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/switchyard-proxy/switchyard/gen/api"
	"github.com/switchyard-proxy/switchyard/relay/config"
)

// TestPatchTakesEveryKey patches each key of the contract alone: each of them changes the configuration, but for
// those that the family takes and leaves alone.
func TestPatchTakesEveryKey(t *testing.T) {
	without := []string{"tcptun-config", "udptun-config"}
	var each func(s reflect.Type, wrap func(member any) any, at string)
	each = func(s reflect.Type, wrap func(member any) any, at string) {
		for i := range s.NumField() {
			field := s.Field(i)
			key, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			inner := field.Type
			for inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			alone := func(member any) any { return wrap(map[string]any{key: member}) }
			if inner.Kind() == reflect.Struct {
				each(inner, alone, at+key+".")
				continue
			}
			b, err := json.Marshal(alone(unlikely(key, inner)))
			if err != nil {
				t.Fatal(err)
			}
			var body api.ConfigPatch
			if err := json.Unmarshal(b, &body); err != nil {
				t.Fatalf("%s: %v", b, err)
			}
			n := config.Default()
			if bad := patch(n, &body); bad != nil {
				t.Errorf("%s: %s", b, bad.Message)
			}
			same := reflect.DeepEqual(n, config.Default())
			if same != slices.Contains(without, key) {
				t.Errorf("%s%s: %s changes nothing: %v", at, key, b, same)
			}
		}
	}
	each(reflect.TypeFor[api.ConfigPatch](), func(member any) any { return member }, "")
}

// unlikely is a value that no default is.
func unlikely(key string, t reflect.Type) any {
	switch {
	case key == "mode":
		return "GLOBAL"
	case key == "log-level":
		return "Debug"
	case key == "stack":
		return "MIXED"
	case key == "ipv6" || key == "auto-route" || key == "auto-detect-interface":
		return false
	case key == "skip-auth-prefixes" || key == "lan-allowed-ips" || key == "lan-disallowed-ips":
		return []string{"10.0.0.0/8"}
	}
	switch t.Kind() {
	case reflect.Bool:
		return true
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Int {
			return []int{7}
		}
		return []string{"x"}
	case reflect.String:
		return "x"
	}
	return 7
}
