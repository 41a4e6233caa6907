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

	"s3redirect/internal/locator"
	"s3redirect/internal/viewer"
)

const (
	// maxBodies bounds the memory of all bodies in flight, in bytes. It is enough for 64 full
	// batches with the longest buckets and keys.
	maxBodies = 64 * maxLocators * 1200
	// maxBodyValue bounds one value of a body, in bytes. A locator in which every byte is escaped
	// has 6,560.
	maxBodyValue = 16 << 10
)

var (
	errLongValue  = errors.New("a value is longer than 16 kB")
	errNotUTF8    = errors.New("it is not valid UTF-8")
	errNotString  = errors.New("a value is not a string")
	errOverloaded = newProblem(http.StatusServiceUnavailable, "overloaded",
		"Too many large requests are in flight. Try again later.")
)

// body decodes a request's JSON object while it arrives, so that only the values that are kept take
// memory. It takes the bytes that it reads from a budget that all requests share, if it has one.
type body struct {
	json   *json.Decoder
	in     io.Reader
	budget *budget // nil for bodies that are too small to count
	client viewer.Client
	held   int64 // bytes taken from the budget
	ahead  int   // bytes read since the last value was complete
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
	if b.budget == nil {
		return nil
	}
	if !b.budget.take(b.client, int64(n)) {
		return errOverloaded
	}
	b.held += int64(n)
	return nil
}

// release returns the bytes that b took to the budget. The caller must not use b's values any more.
func (b *body) release() {
	if b.budget != nil {
		b.budget.release(b.client, b.held)
		b.held = 0
	}
}

// readBody reads a body of at most limit bytes. fields maps the name of each known field to a
// function that reads its value. A body may arrive slowly, so readBody updates x.now. If err is
// nil, the caller must release the body.
func (h *Handler) readBody(
	w http.ResponseWriter, r *http.Request, x *exchange, limit int64,
	fields map[string]func(*body) error,
) (*body, error) {
	// Browsers send JSON across origins only after a preflight.
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || mediaType != "application/json" {
		return nil, newProblem(http.StatusUnsupportedMediaType, "not_json",
			"Send JSON with Content-Type: application/json.")
	}
	tooLarge := newProblem(http.StatusRequestEntityTooLarge, "too_large",
		"The body is larger than "+strconv.FormatInt(limit, 10)+" bytes.")
	if r.ContentLength > limit {
		return nil, tooLarge
	}
	b := &body{in: http.MaxBytesReader(w, r.Body, limit)}
	if limit > maxBodyValue { // a smaller body takes no more memory than a header
		b.budget, b.client = h.bodies, h.gate.Client(&x.viewer, &x.Request)
	}
	b.json = json.NewDecoder(b)
	err = b.object(fields)
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

// object reads an object that must be the entire body. It rejects unknown and repeated fields.
func (b *body) object(fields map[string]func(*body) error) error {
	if err := b.delim('{'); err != nil {
		return err
	}
	for b.json.More() {
		name, err := b.token()
		if err != nil {
			return err
		}
		text, _ := name.(string) // the decoder only accepts strings as names
		read, ok := fields[text]
		if !ok {
			return errors.New("it has an unknown or repeated field")
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
		return errors.New("it continues after the object")
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
		return errors.New("it lacks a '" + want.String() + "'")
	}
	return nil
}

// value decodes a value of any type.
func (b *body) value(into any) error {
	err := b.json.Decode(into)
	b.ahead = 0
	return err
}

// raw reads a string and returns it undecoded, with its quotes.
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

// text decodes a string.
func (b *body) text(into *string) error {
	raw, err := b.raw()
	if err == nil {
		*into, err = unquote(raw)
	}
	return err
}

// raws reads a list of undecoded strings. It returns an error as soon as there are more than limit.
func (b *body) raws(limit int) (all []json.RawMessage, err error) {
	if err := b.delim('['); err != nil {
		return nil, err
	}
	for b.json.More() {
		if len(all) == limit {
			return nil, errors.New("a list has more than " + strconv.Itoa(limit) + " items")
		}
		raw, err := b.raw()
		if err != nil {
			return nil, err
		}
		all = append(all, raw)
	}
	return all, b.delim(']')
}

// unquote decodes a JSON string. Half of a surrogate pair (\ud800 alone) is an error, like invalid
// UTF-8 in a path: encoding/json would replace it with U+FFFD, which names another object.
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
		paired := len(next) >= 6 && next[0] == '\\' && next[1] == 'u'
		if !paired || utf16.DecodeRune(unit, codeUnit(next[2:])) == utf8.RuneError {
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
