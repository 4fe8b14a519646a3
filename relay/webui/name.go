package webui

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of the path of an entry.
const (
	maxName  = 512 // bytes
	maxWord  = 255 // bytes between two slashes
	maxDepth = 32  // directories, one in another
)

var errName = errors.New("is not a path that is allowed")

// clean returns the path of an entry below the directory that it is unpacked to; "." is that
// directory itself. What would lead out of it on any system, or be another file than it seems, is an
// error.
func clean(name string) (string, error) {
	bare := strings.TrimSuffix(strings.TrimPrefix(name, "./"), "/")
	if bare == "" && name != "" && name[0] == '.' || bare == "." {
		return ".", nil
	}
	if len(name) > maxName || !utf8.ValidString(name) || strings.ContainsFunc(name, isForbidden) ||
		strings.Count(bare, "/") >= maxDepth {
		return "", refused(name)
	}
	for word := range strings.SplitSeq(bare, "/") {
		if word == "" || word == "." || word == ".." || len(word) > maxWord || isDevice(word) ||
			strings.HasSuffix(word, ".") || strings.HasSuffix(word, " ") {
			return "", refused(name)
		}
	}
	return bare, nil
}

func refused(name string) error {
	if len(name) > maxName {
		name = name[:maxName/8] + "…"
	}
	return fmt.Errorf("%q: %w", name, errName)
}

// isForbidden says whether a letter has a meaning of its own on some system: \ parts directories, and
// : drives and streams.
func isForbidden(r rune) bool { return r == '\\' || r == ':' || unicode.IsControl(r) }

// isDevice says whether Windows takes a name for a device, in any directory and with any ending.
func isDevice(word string) bool {
	stem, _, _ := strings.Cut(word, ".")
	stem = strings.ToUpper(strings.TrimRight(stem, " "))
	switch stem {
	case "CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$":
		return true
	}
	port, ok := strings.CutPrefix(stem, "COM")
	if !ok {
		port, ok = strings.CutPrefix(stem, "LPT")
	}
	return ok && utf8.RuneCountInString(port) == 1 && strings.ContainsAny(port, "0123456789¹²³")
}
