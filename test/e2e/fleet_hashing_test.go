package e2e

import (
	"fmt"
	"net/http"
	"testing"
)

// TestConsistentHashing runs replicas without a shared store. nginx picks the replica by a hash of
// the path, so that each object has one URL, whatever the query. When a replica stops, the objects
// of the other replicas keep their URLs.
func TestConsistentHashing(t *testing.T) {
	t.Parallel()
	s := minio(t)
	config := longWindow + `
integrations:
  - name: hashed
    bucket: hashed
    role_arn: arn:minio:iam:::role/reader
    session_duration: 400h
    endpoint: ${ENDPOINT}
    sts_endpoint: ${ENDPOINT}
    path_style: true
    region: us-east-1
    access_key_id: ${ACCESS_KEY}
    secret_access_key: ${SECRET_KEY}
`
	var replicas []*proxy
	upstream := "hash $uri consistent;"
	for range 3 {
		replicas = append(replicas, startProxy(t, config, s.env()...))
		upstream += " server " + replicas[len(replicas)-1].host + ";"
	}
	host, dir := freeAddress(t), shipped(t, "nginx", "server 127.0.0.1:8080;", upstream)
	f := nginxWith(t, host, fmt.Sprintf(`
include %[1]s/upstream.conf;
server {
    listen %[2]s;
    add_header X-Replica $upstream_addr;
    include %[1]s/location.conf;
}`, dir, host))
	type redirect struct{ location, by string }
	ask := func(n int, query string) redirect {
		target := path("hashed", fmt.Sprintf("a %%2F+object-%d", n)) + query
		a := fetch(t, http.MethodGet, "http://"+f.host+target)
		if err := a.checkRedirect(); err != nil {
			t.Fatal(err)
		}
		return redirect{a.header.Get("Location"), replicaOf(a)}
	}
	const objects = 100
	first, share := make([]redirect, objects), map[string]int{}
	for n := range objects {
		first[n] = ask(n, "")
		share[first[n].by]++
		for visit := range 3 {
			if again := ask(n, fmt.Sprint("?visit=", visit)); again != first[n] {
				t.Errorf("object %d with another query: got %v, want %v", n, again, first[n])
			}
		}
	}
	if len(share) != len(replicas) {
		t.Errorf("objects per replica = %v, want some at each of %d", share, len(replicas))
	}
	stopped := replicas[0].host
	replicas[0].stop()
	for n := range objects {
		then := ask(n, "")
		if then.by == stopped || first[n].by != stopped && then != first[n] {
			t.Errorf("object %d after %s stopped: got %v, before it %v", n, stopped, then, first[n])
		}
	}
}
