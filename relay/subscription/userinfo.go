// Package subscription says how a list of nodes is that comes from elsewhere.
package subscription

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// Field is the name of the header field that says how much of a subscription is used.
const Field = "Subscription-Userinfo"

// maxField bounds what is read of the field, in bytes.
const maxField = 1 << 10

// UserInfo is how much of a subscription is used: bytes, and when it ends in Unix seconds, 0 for never.
type UserInfo struct{ Upload, Download, Total, Expire int64 }

// Parse reads the field: key=value separated by semicolons, in any case, with or without spaces. What it does
// not know, and values that are no numbers, it leaves out; with nothing left ok is false.
func Parse(field string) (u UserInfo, ok bool) {
	field = strings.ToLower(strings.ReplaceAll(field[:min(len(field), maxField)], " ", ""))
	for part := range strings.SplitSeq(field, ";") {
		key, text, _ := strings.Cut(part, "=")
		n, valid := number(text)
		if !valid {
			continue
		}
		switch key {
		case "upload":
			u.Upload = n
		case "download":
			u.Download = n
		case "total":
			u.Total = n
		case "expire":
			u.Expire = n
		default:
			continue
		}
		ok = true
	}
	return u, ok
}

// number reads a whole number, or one that has a fraction to be left out. It is never negative.
func number(text string) (int64, bool) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return max(n, 0), true
	}
	f, err := strconv.ParseFloat(text, 64)
	switch {
	case err != nil && !errors.Is(err, strconv.ErrRange) || math.IsNaN(f):
		return 0, false
	case f >= math.MaxInt64:
		return math.MaxInt64, true
	}
	return int64(max(f, 0)), true
}
