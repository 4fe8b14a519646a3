package process

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const directory = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC

// processes lists those there are, the ones of user uid first.
func processes(uid uint32) ([]int32, error) {
	dir, err := unix.Open("/proc", directory, 0)
	if isShortage(err) {
		return nil, fmt.Errorf("open /proc: %w", err)
	}
	if err != nil {
		return nil, nil
	}
	defer unix.Close(dir)
	var own, others []int32
	for names := range entries(dir) {
		for _, name := range names {
			pid, err := strconv.ParseInt(name, 10, 32)
			if err != nil || pid <= 0 { // not a process
				continue
			}
			var st unix.Stat_t
			if err := unix.Fstatat(dir, name, &st, 0); err != nil {
				continue
			}
			if st.Uid == uid {
				own = append(own, int32(pid))
			} else {
				others = append(others, int32(pid))
			}
		}
	}
	return append(own, others...), nil
}

// entries yields the names in a directory in batches; one is valid until the next. A process that
// ends while it is read has no more.
func entries(dir int) iter.Seq[[]string] {
	return func(yield func([]string) bool) {
		buf := make([]byte, 4<<10)
		var names []string
		for {
			n, err := unix.ReadDirent(dir, buf)
			if n <= 0 || err != nil {
				return
			}
			_, _, names = unix.ParseDirent(buf[:n], -1, names[:0])
			if !yield(names) {
				return
			}
		}
	}
}

// openDescriptors opens the directory of a process' descriptors.
func openDescriptors(pid int32) (dir int, err error) {
	return unix.Open("/proc/"+strconv.Itoa(int(pid))+"/fd", directory, 0)
}

// isShortage tells an error that a later try may not meet from that there is nothing to be seen.
func isShortage(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOMEM)
}

// socketAt is the inode of a descriptor that is a socket.
func socketAt(dir int, fd string) (inode uint32, ok bool) {
	var buf [32]byte
	n, err := unix.Readlinkat(dir, fd, buf[:])
	if err != nil {
		return 0, false
	}
	return parseLink(buf[:n])
}

// parseLink reads "socket:[123]".
func parseLink(b []byte) (inode uint32, ok bool) {
	b, ok = bytes.CutPrefix(b, []byte("socket:["))
	if !ok {
		return 0, false
	}
	if b, ok = bytes.CutSuffix(b, []byte("]")); !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(string(b), 10, 32)
	if err != nil {
		return 0, false
	}
	return uint32(n), true
}

// executable is what the process runs whose descriptors are in dir, or "" if that is not shown.
func executable(dir int) string {
	var buf [unix.PathMax]byte
	n, err := unix.Readlinkat(dir, "../exe", buf[:])
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(string(buf[:n]), " (deleted)")
}
