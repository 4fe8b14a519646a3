package health

import (
	"bufio"
	"errors"
	"io"
	"net/textproto"
)

// maxHead bounds the head of an answer with those of its interim ones, in bytes.
const maxHead = 64 << 10

var (
	errAnswer = errors.New("the answer is not HTTP/1")
	errHead   = errors.New("the head of the answer is too long")
)

// answers reads the heads of the answers to HEAD requests, which have no bodies.
type answers struct {
	limit *io.LimitedReader
	buf   *bufio.Reader
	text  *textproto.Reader
}

func newAnswers(r io.Reader) *answers {
	a := &answers{limit: &io.LimitedReader{R: r}}
	a.buf = bufio.NewReader(a.limit)
	a.text = textproto.NewReader(a.buf)
	return a
}

// next reads one answer and returns its status. Interim answers (RFC 9110, 15.2) are passed over.
func (a *answers) next() (code int, err error) {
	a.limit.N = int64(maxHead - a.buf.Buffered())
	for {
		line, err := a.line()
		if err != nil {
			return 0, err
		}
		if code, err = parseStatusLine(line); err != nil {
			return 0, err
		}
		for line != "" {
			if line, err = a.line(); err != nil {
				return 0, err
			}
		}
		if code >= 200 || code == 101 {
			return code, nil
		}
	}
}

func (a *answers) line() (string, error) {
	line, err := a.text.ReadLine()
	switch {
	case a.limit.N <= 0 && a.buf.Buffered() == 0: // the last line was cut, or is one too many
		return "", errHead
	case errors.Is(err, io.EOF):
		return "", io.ErrUnexpectedEOF
	}
	return line, err
}

// parseStatusLine reads "HTTP/1.1 204 No Content"; the words may be missing.
func parseStatusLine(line string) (code int, err error) {
	const before = len("HTTP/1.1 ")
	if len(line) < before+3 || line[:7] != "HTTP/1." || line[7] < '0' || line[7] > '9' || line[8] != ' ' {
		return 0, errAnswer
	}
	for _, c := range []byte(line[before : before+3]) {
		if c < '0' || c > '9' {
			return 0, errAnswer
		}
		code = code*10 + int(c-'0')
	}
	if code < 100 || len(line) > before+3 && line[before+3] != ' ' {
		return 0, errAnswer
	}
	return code, nil
}
