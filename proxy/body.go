package proxy

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/sync/semaphore"

	"s3redirect/internal/locator"
)

const (
	// maxBodies bounds the memory of all bodies in flight together, in bytes: 64 full batches with the longest buckets and keys.
	maxBodies = 64 * maxLocators * 1200
	// maxBodyValue bounds one value of a body, in bytes: a locator of which every byte is escaped takes 6,560.
	maxBodyValue = 16 << 10
)

var (
	errLongValue  = errors.New("a value is longer than 16 kB")
	errNotUTF8    = errors.New("it is not UTF-8")
	errNotString  = errors.New("a value that should be a string is not one")
	errOverloaded = newProblem(http.StatusServiceUnavailable, "overloaded", "Too many large requests are in flight. Try again later.")
)

// body is a request's JSON object. It is decoded while it arrives, so that a request costs no more memory than the values that
// are kept, and it counts what it reads against a budget that all requests share.
type body struct {
	json   *json.Decoder
	in     io.Reader
	budget *semaphore.Weighted
	held   int64 // taken from the budget
	ahead  int   // read since the last value was complete
}

// Read implements [io.Reader], for the decoder.
func (b *body) Read(p []byte) (int, error) {
	if b.ahead >= maxBodyValue {
		return 0, errLongValue
	}
	n, err := b.in.Read(p)
	if err := b.take(n); err != nil {
		return 0, err
	}
	b.ahead += n
	return n, err
}

// take takes n bytes from the budget.
func (b *body) take(n int) error {
	if !b.budget.TryAcquire(int64(n)) {
		return errOverloaded
	}
	b.held += int64(n)
	return nil
}

// release gives back what was taken from the budget. The values are no longer in use.
func (b *body) release() {
	b.budget.Release(b.held)
	b.held = 0
}

// readBody reads a body of at most limit bytes. fields has a function for each field that is known, which reads its value. A body
// may arrive slowly, so x.now is set again. If err is nil, the caller must release the body.
func (h *Handler) readBody(w http.ResponseWriter, r *http.Request, x *exchange, limit int64, fields map[string]func(*body) error) (*body, error) {
	// Browsers send JSON across origins only after a preflight.
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return nil, newProblem(http.StatusUnsupportedMediaType, "not_json", "Send JSON, and Content-Type: application/json.")
	}
	tooLarge := newProblem(http.StatusRequestEntityTooLarge, "too_large", "The body is larger than "+strconv.FormatInt(limit, 10)+" bytes.")
	if r.ContentLength > limit {
		return nil, tooLarge
	}
	b := &body{in: http.MaxBytesReader(w, r.Body, limit), budget: h.bodies}
	b.json = json.NewDecoder(b)
	err := b.object(fields)
	x.now = h.clock()
	if err == nil {
		return b, nil
	}
	b.release()
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return nil, tooLarge
	}
	if p, ok := errors.AsType[*problem](err); ok {
		return nil, p
	}
	return nil, badRequest("The body is not valid: " + err.Error() + ".")
}

// object reads an object, and wants nothing to follow it. Each field may be there once.
func (b *body) object(fields map[string]func(*body) error) error {
	if err := b.delim('{'); err != nil {
		return err
	}
	for b.json.More() {
		name, err := b.token()
		if err != nil {
			return err
		}
		text, _ := name.(string) // the decoder accepts nothing else as a name
		read, ok := fields[text]
		if !ok {
			return errors.New("it has a field that is unknown or given twice")
		}
		delete(fields, text)
		if err := read(b); err != nil {
			return err
		}
	}
	if err := b.delim('}'); err != nil {
		return err
	}
	if _, err := b.token(); err == nil {
		return errors.New("something follows the object")
	} else if !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

func (b *body) token() (json.Token, error) {
	t, err := b.json.Token()
	b.ahead = 0
	return t, err
}

func (b *body) delim(want json.Delim) error {
	switch t, err := b.token(); {
	case errors.Is(err, io.EOF):
		return io.ErrUnexpectedEOF
	case err != nil:
		return err
	case t != want:
		return errors.New("there is no '" + want.String() + "' where one is needed")
	}
	return nil
}

// value reads a value of a fixed size.
func (b *body) value(into any) error {
	err := b.json.Decode(into)
	b.ahead = 0
	return err
}

// raw reads a string and returns it as the body has it, quoted.
func (b *body) raw() (raw json.RawMessage, err error) {
	if err := b.value(&raw); err != nil {
		return nil, err
	}
	switch {
	case raw[0] != '"':
		return nil, errNotString
	case !utf8.Valid(raw): // RFC 8259, section 8.1
		return nil, errNotUTF8
	}
	return raw, nil
}

// text reads a string.
func (b *body) text(into *string) error {
	raw, err := b.raw()
	if err == nil {
		*into, err = unquote(raw)
	}
	return err
}

// raws reads a list of strings, which are at most so many.
func (b *body) raws(most int) (all []json.RawMessage, err error) {
	if err := b.delim('['); err != nil {
		return nil, err
	}
	for b.json.More() {
		if len(all) == most {
			return nil, errors.New("a list has more than " + strconv.Itoa(most) + " items")
		}
		raw, err := b.raw()
		if err != nil {
			return nil, err
		}
		all = append(all, raw)
	}
	return all, b.delim(']')
}

// unquote decodes a JSON string. encoding/json replaces half of a surrogate pair (\ud800 alone) by U+FFFD, which would name another
// object than the one the client meant: it is an error, as invalid UTF-8 is in a path.
func unquote(raw json.RawMessage) (text string, err error) {
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			continue
		}
		i++ // the decoder has checked that a character follows
		if raw[i] != 'u' {
			continue
		}
		unit := codeUnit(raw[i+1:])
		i += 4
		if !utf16.IsSurrogate(unit) {
			continue
		}
		next := raw[i+1:]
		if len(next) < 6 || next[0] != '\\' || next[1] != 'u' || utf16.DecodeRune(unit, codeUnit(next[2:])) == utf8.RuneError {
			return "", locator.ErrInvalidUTF8
		}
		i += 6
	}
	return text, json.Unmarshal(raw, &text)
}

// codeUnit returns the value of four hexadecimal digits, which the decoder has checked.
func codeUnit(digits []byte) rune {
	n, err := strconv.ParseUint(string(digits[:4]), 16, 16)
	if err != nil {
		return utf8.RuneError
	}
	return rune(n)
}
