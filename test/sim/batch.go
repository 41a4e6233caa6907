package sim

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"s3redirect/internal/locator"
)

// batch is the answer to POST /presign.
type batch struct {
	URLs []struct {
		Locator   string    `json:"locator"`
		URL       string    `json:"url"`
		ExpiresAt time.Time `json:"expires_at"`
		Error     string    `json:"error"`
	} `json:"urls"`
}

// askBatch sends one POST /presign for the objects of some requests, which have the same viewer and
// replica. The answer for each object is reported as an answer to its request. The server answers one
// object after the other, so an integration whose STS hangs delays all.
func (w *world) askBatch(requests []*request) {
	first := requests[0]
	if first.replica.app == nil {
		return
	}
	var locators []string
	for _, q := range requests {
		q.batch = requests
		w.begin(q)
		locators = append(locators, locator.Locator{Bucket: q.bucket, Key: q.key}.String())
	}
	body, err := json.Marshal(map[string][]string{"locators": locators})
	if err != nil {
		panic("sim: " + err.Error())
	}
	post := *first
	post.method, post.target, post.content = http.MethodPost, "/presign", string(body)
	length := "Content-Length: " + strconv.Itoa(len(body))
	post.lines = append([]string{"Content-Type: application/json", length}, first.lines...)
	w.inFlight.Go(func() {
		resp, text, err := exchange(first.replica, first.app, first.peer, post.method, post.bytes())
		var answers batch
		if err == nil && resp.StatusCode == http.StatusOK {
			err = json.Unmarshal(text, &answers)
		}
		for n, q := range requests {
			q.ended = time.Now()
			q.clockError = q.replica.clockError(q.ended)
			if err == nil {
				q.status, q.header, q.body = resp.StatusCode, resp.Header.Clone(), string(text)
			}
			if q.status == http.StatusOK {
				q.presigned(&answers, n)
			}
			w.receive(q)
		}
	})
}

// presigned reads the answer for the object of q, which is the nth of a batch, as if it were a
// redirect or a problem.
func (q *request) presigned(answers *batch, n int) {
	q.body = `{"code":"missing"}`
	asked := locator.Locator{Bucket: q.bucket, Key: q.key}.String()
	if n >= len(answers.URLs) || answers.URLs[n].Locator != asked {
		return
	}
	one := &answers.URLs[n]
	q.body = fmt.Sprintf(`{"code":%q}`, one.Error)
	if one.URL != "" {
		q.status, q.promised = http.StatusFound, one.ExpiresAt
		q.header.Set("Location", one.URL)
	}
}
