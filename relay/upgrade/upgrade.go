// Package upgrade finds the newest program on a server of releases, and believes only what is signed. A server has
// one directory for each channel:
//
//	URL/CHANNEL/SHA256SUMS            one line for each file, as sha256sum writes it
//	URL/CHANNEL/SHA256SUMS.minisig    its signature, whose trusted comment says version:v1.2.3
//	URL/CHANNEL/switchyard-OS-ARCH    the program; with .gz it is compressed
package upgrade

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/switchyard-proxy/switchyard/relay/minisign"
)

// Bounds of what is downloaded, in bytes.
const (
	MaxProgram   = 256 << 20
	maxSums      = 64 << 10
	maxSignature = 16 << 10
)

// Channels are what releases are published in.
const (
	Release = "release"
	Alpha   = "alpha"
	Auto    = "auto" // that of the version which runs
)

// ErrCurrent means that there is nothing newer. Clients look for its text.
var ErrCurrent = errors.New("update error: already using latest version")

// StepError says which step of an upgrade failed.
type StepError struct {
	Step string // "download", "verify", "write", "test" or "start"
	Err  error
}

func (e *StepError) Error() string { return "upgrade: " + e.Step + ": " + e.Err.Error() }

// FailedStep is Step, for those who know no StepError.
func (e *StepError) FailedStep() string { return e.Step }

// Unwrap returns the cause.
func (e *StepError) Unwrap() error { return e.Err }

// Request says what is looked for.
type Request struct {
	URL     string
	Key     minisign.Key
	Channel string // "" is Auto
	Version string // the one that runs
	Force   bool   // whatever is there is wanted
	OS      string // as Go calls it
	Arch    string
	// Get downloads at most limit bytes. Its errors repeat no URL.
	Get func(ctx context.Context, url string, limit int64) ([]byte, error)
}

// Program is one that is known to be what its publisher has signed.
type Program struct {
	Version string
	Data    []byte
}

// Find downloads the program that r asks for. Without Force it is newer than the one that runs, as far as that
// can be told; else the error is ErrCurrent, or says that it is older.
func Find(ctx context.Context, r *Request) (*Program, error) {
	channel := channelOf(r)
	base, err := url.Parse(r.URL)
	if err != nil {
		return nil, errors.New("upgrade.url is not a URL")
	}
	base = base.JoinPath(channel)
	get := func(name string, limit int64) ([]byte, error) {
		b, err := r.Get(ctx, base.JoinPath(name).String(), limit)
		if err != nil {
			return nil, &StepError{"download", fmt.Errorf("%s/%s: %w", channel, name, err)}
		}
		return b, nil
	}
	sums, err := get("SHA256SUMS", maxSums)
	if err != nil {
		return nil, err
	}
	signature, err := get("SHA256SUMS.minisig", maxSignature)
	if err != nil {
		return nil, err
	}
	version, err := verify(r.Key, sums, signature, channel)
	if err != nil {
		return nil, &StepError{"verify", fmt.Errorf("%s/SHA256SUMS: %w", channel, err)}
	}
	if err := judge(r, version); err != nil {
		return nil, err
	}
	name, sum, err := choose(sums, "switchyard-"+r.OS+"-"+r.Arch)
	if err != nil {
		return nil, &StepError{"download", fmt.Errorf("%s/SHA256SUMS: %w", channel, err)}
	}
	data, err := get(name, MaxProgram)
	if err != nil {
		return nil, err
	}
	if got := sha256.Sum256(data); !bytes.Equal(got[:], sum) {
		return nil, &StepError{"verify", fmt.Errorf("%s/%s: its SHA-256 sum is not the one that is signed", channel, name)}
	}
	if strings.HasSuffix(name, ".gz") {
		if data, err = unzip(data); err != nil {
			return nil, &StepError{"verify", fmt.Errorf("%s/%s: decompress: %w", channel, name, err)}
		}
	}
	return &Program{Version: version, Data: data}, nil
}

// channelOf is the channel that is looked in.
func channelOf(r *Request) string {
	switch {
	case r.Channel != "" && r.Channel != Auto:
		return r.Channel
	case prerelease(r.Version):
		return Alpha
	}
	return Release
}

// verify returns the version that the signature of sums names. Where it names a channel that has to be the one
// that was asked for.
func verify(key minisign.Key, sums, signature []byte, channel string) (version string, err error) {
	s, err := minisign.Parse(signature)
	if err != nil {
		return "", err
	}
	if err := key.Verify(sums, s); err != nil {
		return "", err
	}
	of := channel
	for word := range strings.FieldsSeq(s.Comment) {
		switch name, value, _ := strings.Cut(word, ":"); name {
		case "version":
			version = value
		case "channel":
			of = value
		}
	}
	switch {
	case version == "" || len(version) > 64:
		return "", errors.New("the signed comment names no version, such as version:v1.2.3")
	case of != channel:
		return "", errors.New("it is of another channel")
	}
	return version, nil
}

// judge says whether a version is wanted. What is older and signed may still be offered, to bring a mistake back
// that was mended.
func judge(r *Request, version string) error {
	switch order, known := compare(version, r.Version); {
	case r.Force:
		return nil
	case version == r.Version, known && order == 0:
		return ErrCurrent
	case known && order < 0:
		return fmt.Errorf("update error: %s is older than %s, which runs", version, r.Version)
	}
	return nil
}

// choose finds the file called name, or its compressed form, in sums.
func choose(sums []byte, name string) (file string, sum []byte, err error) {
	for line := range strings.Lines(string(sums)) {
		text, of, ok := strings.Cut(strings.TrimSpace(line), " ")
		of = strings.TrimPrefix(strings.TrimLeft(of, " "), "*")
		if !ok || of != name && of != name+".gz" {
			continue
		}
		b, err := hex.DecodeString(text)
		if err != nil || len(b) != sha256.Size {
			return "", nil, fmt.Errorf("the line of %s has no SHA-256 sum", of)
		}
		if file == "" || of == name+".gz" {
			file, sum = of, b
		}
	}
	if file == "" {
		return "", nil, fmt.Errorf("it does not list %s", name)
	}
	return file, sum, nil
}

func unzip(data []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	out, err := io.ReadAll(io.LimitReader(z, MaxProgram+1))
	if err == nil && len(out) > MaxProgram {
		err = fmt.Errorf("larger than %d MiB", MaxProgram>>20)
	}
	return out, err
}
