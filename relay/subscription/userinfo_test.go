package subscription_test

import (
	"math"
	"testing"

	"github.com/switchyard-proxy/switchyard/relay/subscription"
)

func TestParse(t *testing.T) {
	f := func(field string, want subscription.UserInfo, ok bool) {
		t.Helper()
		if got, known := subscription.Parse(field); got != want || known != ok {
			t.Errorf("%q: %+v, %v", field, got, known)
		}
	}
	type u = subscription.UserInfo
	f("upload=1024; download=2048; total=1073741824; expire=1893456000", u{1024, 2048, 1073741824, 1893456000}, true)
	f("Upload = 1;TOTAL=5", u{Upload: 1, Total: 5}, true)
	f("upload=1.9;download=2e3;total=-1;expire=", u{Upload: 1, Download: 2000}, true)
	f("total=99999999999999999999", u{Total: math.MaxInt64}, true)
	f("total=1e400", u{Total: math.MaxInt64}, true)
	f("total=NaN;upload=x;download=0x10", u{}, false)
	f("web-page=1;other", u{}, false)
	f("", u{}, false)
}

func FuzzParse(f *testing.F) {
	f.Add("upload=1; download=2; total=3; expire=4")
	f.Fuzz(func(t *testing.T, field string) {
		if u, _ := subscription.Parse(field); min(u.Upload, u.Download, u.Total, u.Expire) < 0 {
			t.Errorf("%+v", u)
		}
	})
}
