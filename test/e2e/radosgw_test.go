package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// gateway is a Ceph cluster of one monitor, one in-memory object store daemon and one gateway. Its
// STS evaluates the role and the principal in the role's trust policy. It stores every key
// unchanged.
type gateway struct {
	store
	roleARN  string
	trusted  aws.Credentials // of the principal that the role trusts
	stranger aws.Credentials // of a principal that the role does not trust
}

// radosgw returns the gateway that all tests share.
func radosgw(t *testing.T) *gateway {
	t.Helper()
	need(t, "radosgw", "radosgw-admin", "ceph", "ceph-mon", "ceph-osd", "monmaptool")
	g, err := startedGateway()
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// cephConf is the configuration of a private cluster: without authentication and replication, with
// all objects in memory.
const cephConf = `[global]
fsid = %[1]s
mon host = %[3]s
auth cluster required = none
auth service required = none
auth client required = none
run dir = %[2]s
pid file = %[2]s/$name.pid
admin socket = %[2]s/$name.asok
log to stderr = true
log to file = false
crash dir = %[2]s
mon data = %[2]s/mon
osd data = %[2]s/osd
rgw data = %[2]s/rgw
osd objectstore = memstore
memstore device bytes = 2147483648
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 2000
mon data avail crit = 1
debug mon = 0
debug osd = 0
debug rgw = 0
# By default each change of the map takes a second: 16 seconds for a dozen pools instead of 1.
paxos propose interval = 0.02
paxos min wait = 0.01

[client.rgw]
rgw frontends = beast endpoint=%[4]s tcp_nodelay=1
rgw sts key = 0123456789abcdef
rgw s3 auth use sts = true
# Tests wait for sessions of three seconds to expire.
rgw sts min session duration = 3
# Without this setting the gateway hangs forever.
ms mon client mode = crc secure
`

var startedGateway = sync.OnceValues(func() (*gateway, error) {
	const fsid = "8f1f7f2e-5d3c-4b8a-9c55-2f6d0a1b3c4d"
	const osd = "1c9d1f38-3c1e-4f83-8a0e-6f3f5a4b2d10"
	dir := filepath.Join(workDir, "ceph")
	for _, d := range []string{"", "mon", "osd", "rgw"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	ports, err := freePorts(3)
	if err != nil {
		return nil, err
	}
	monitor := fmt.Sprintf("[v2:127.0.0.1:%d,v1:127.0.0.1:%d]", ports[0], ports[1])
	address := fmt.Sprintf("127.0.0.1:%d", ports[2])
	conf := filepath.Join(dir, "ceph.conf")
	text := fmt.Appendf(nil, cephConf, fsid, dir, monitor, address)
	if err := os.WriteFile(conf, text, 0o600); err != nil {
		return nil, err
	}
	ceph := func(args ...string) (string, error) {
		return run(dir, append([]string{args[0], "-c", conf}, args[1:]...)...)
	}
	start := func(program string, args ...string) (*server, error) {
		args = append([]string{program, "-c", conf, "-f"}, args...)
		return startServer(dir, program, nil, args...)
	}

	monmap := filepath.Join(dir, "monmap")
	_, err = run(dir, "monmaptool", "--create", "--fsid", fsid, "--addv", "a", monitor, monmap)
	if err != nil {
		return nil, err
	}
	if _, err := ceph("ceph-mon", "-i", "a", "--mkfs", "--monmap", monmap); err != nil {
		return nil, err
	}
	mon, err := start("ceph-mon", "-i", "a")
	if err != nil {
		return nil, err
	}
	// Each ceph command starts a Python interpreter, so run as few as possible.
	if err := mon.await("the Ceph monitor", func() bool {
		_, err := ceph("ceph", "--connect-timeout", "5", "osd", "new", osd)
		return err == nil
	}); err != nil {
		return nil, err
	}
	if _, err := ceph("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd); err != nil {
		return nil, err
	}
	if _, err := start("ceph-osd", "-i", "0"); err != nil {
		return nil, err
	}
	process, err := start("radosgw", "-n", "client.rgw")
	if err != nil {
		return nil, err
	}
	g := &gateway{store: store{endpoint: "http://" + address}}
	if err := process.await("radosgw", func() bool { return answersOK(g.endpoint) }); err != nil {
		return nil, err
	}
	return g, g.populate(ceph)
})

// env returns the environment of store.env plus the role and the keys of the trusted principal and
// the stranger.
func (g *gateway) env() []string {
	return append(g.store.env(),
		"ROLE="+g.roleARN,
		"TRUSTED_KEY="+g.trusted.AccessKeyID,
		"TRUSTED_SECRET="+g.trusted.SecretAccessKey,
		"STRANGER_KEY="+g.stranger.AccessKeyID,
		"STRANGER_SECRET="+g.stranger.SecretAccessKey)
}

// populate creates the users with radosgw-admin and the role through the IAM API.
func (g *gateway) populate(ceph func(...string) (string, error)) error {
	newUser := func(uid string, more ...string) (aws.Credentials, error) {
		keys := aws.Credentials{
			AccessKeyID:     strings.ToUpper(uid) + "KEY",
			SecretAccessKey: "canary/radosgw+" + uid + "=secret",
		}
		args := []string{
			"radosgw-admin", "-n", "client.rgw", "user", "create",
			"--uid", uid,
			"--display-name", uid,
			"--access-key", keys.AccessKeyID,
			"--secret", keys.SecretAccessKey,
		}
		_, err := ceph(append(args, more...)...)
		return keys, err
	}
	var err error
	if g.owner, err = newUser("owner", "--caps", "roles=*;user-policy=*"); err != nil {
		return err
	}
	if g.trusted, err = newUser("trusted"); err != nil {
		return err
	}
	if g.stranger, err = newUser("stranger"); err != nil {
		return err
	}

	const role = "reader"
	g.roleARN = "arn:aws:iam:::role/" + role
	ctx := context.Background()
	err = g.iam(ctx, "CreateRole", url.Values{
		"RoleName": {role},
		"Path":     {"/"},
		"AssumeRolePolicyDocument": {document(map[string]any{
			"Effect":    "Allow",
			"Principal": map[string]any{"AWS": []string{"arn:aws:iam:::user/trusted"}},
			"Action":    []string{"sts:AssumeRole"},
		})},
	})
	if err != nil {
		return err
	}
	return g.iam(ctx, "PutRolePolicy", url.Values{
		"RoleName":   {role},
		"PolicyName": {"read"},
		"PolicyDocument": {document(map[string]any{
			"Effect":   "Allow",
			"Action":   []string{"s3:GetObject", "s3:ListBucket"},
			"Resource": "arn:aws:s3:::*",
		})},
	})
}

// document returns a policy document with one statement.
func document(statement map[string]any) string {
	b, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": []any{statement}})
	if err != nil {
		panic(err) // strings always marshal
	}
	return string(b)
}
