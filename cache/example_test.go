package cache_test

import (
	"fmt"
	"time"

	"s3redirect/cache"
)

// session is a value that expires.
type session struct {
	key     string
	expires time.Time
}

func (s session) Deadline() time.Time { return s.expires }

func ExampleLRU() {
	sessions, err := cache.New[string, session](1000, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	now := time.Now()
	sessions.Add("photos", session{key: "AKIA1", expires: now.Add(time.Hour)})

	s, ok := sessions.Get("photos", now.Add(59*time.Minute))
	fmt.Println(s.key, ok)
	_, ok = sessions.Get("photos", now.Add(time.Hour))
	fmt.Println(ok)
	fmt.Printf("%+v\n", sessions.Evictions())
	// Output:
	// AKIA1 true
	// false
	// {Capacity:0 Expired:1 Purged:0}
}

// signature is a small value without pointers.
type signature struct {
	bytes   [32]byte
	expires int64 // Unix time
}

func (s signature) Deadline() time.Time { return time.Unix(s.expires, 0) }

func ExampleTable() {
	signatures, err := cache.NewTable[signature](65_536)
	if err != nil {
		fmt.Println(err)
		return
	}
	now := time.Now()
	id := cache.ID{0x9e3779b97f4a7c15, 0xf39cc0605cedc834} // a hash of the object
	signatures.Add(id, signature{bytes: [32]byte{0xca, 0xfe}, expires: now.Unix() + 60})

	s, ok := signatures.Get(id, now)
	fmt.Printf("%x %v\n", s.bytes[:2], ok)
	// Output: cafe true
}
