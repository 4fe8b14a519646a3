// Package leak fails a test that leaves goroutines behind.
package leak

import (
	"bytes"
	"runtime"
	"strings"
	"testing"
	"time"
)

// wait is how long goroutines that were told to end may take.
const wait = 5 * time.Second

// Check notes the goroutines there are, and compares when the test and the cleanups registered
// after this call are over. It is called first. Tests that use it do not run in parallel.
func Check(t testing.TB) {
	t.Helper()
	before := count()
	t.Cleanup(func() {
		deadline := time.Now().Add(wait)
		for count() > before {
			if time.Now().After(deadline) {
				t.Errorf("%d goroutines, %d before:\n%s", count(), before, stacks())
				return
			}
			runtime.Gosched()
		}
	})
}

// count is the number of goroutines, but for those that the runtime and the test's clients keep.
func count() int {
	n := 0
	for g := range bytes.SplitSeq(stacks(), []byte("\n\n")) {
		if !strings.Contains(string(g), "net/http.(*persistConn)") && !strings.Contains(string(g), "testing.") {
			n++
		}
	}
	return n
}

func stacks() []byte {
	b := make([]byte, 1<<20)
	return b[:runtime.Stack(b, true)]
}
