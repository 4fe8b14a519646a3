package upstream

import (
	"bufio"
	"errors"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
)

// defaultDevice is the interface of the default route.
func defaultDevice() (string, error) {
	f, err := os.Open("/proc/net/route")
	if err != nil {
		return "", err
	}
	defer f.Close()
	return readDefaultDevice(f)
}

// readDefaultDevice reads the kernel's table: a heading, and lines of the interface, the destination, the
// gateway, flags, two counters, the metric and the mask. Of several default routes the lowest metric counts.
func readDefaultDevice(r io.Reader) (device string, err error) {
	const (
		zero = "00000000"
		up   = 1 // RTF_UP
	)
	least := uint64(math.MaxUint64)
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		w := strings.Fields(lines.Text())
		if len(w) < 8 || w[1] != zero || w[7] != zero {
			continue
		}
		flags, err1 := strconv.ParseUint(w[3], 16, 32)
		metric, err2 := strconv.ParseUint(w[6], 10, 32)
		if err1 == nil && err2 == nil && flags&up != 0 && metric < least {
			device, least = w[0], metric
		}
	}
	if device == "" && lines.Err() == nil {
		return "", errors.New("there is none over IPv4: name an interface, such as dhcp://eth0")
	}
	return device, lines.Err()
}
