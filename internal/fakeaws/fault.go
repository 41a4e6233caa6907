package fakeaws

import (
	"fmt"
	"net/http"
)

// Fault is an AWS error response: an HTTP status, an error code and a message.
// https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
// https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html
type Fault struct {
	Status  int
	Code    string
	Message string
}

func (f *Fault) Error() string { return fmt.Sprintf("%d %s: %s", f.Status, f.Code, f.Message) }

func badRequest(code, format string, args ...any) *Fault {
	return &Fault{http.StatusBadRequest, code, fmt.Sprintf(format, args...)}
}

func forbidden(code, format string, args ...any) *Fault {
	return &Fault{http.StatusForbidden, code, fmt.Sprintf(format, args...)}
}

func notFound(code, message string) *Fault { return &Fault{http.StatusNotFound, code, message} }
