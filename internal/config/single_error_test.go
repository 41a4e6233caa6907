package config

import (
	"crypto/x509"
	"encoding/pem"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// everyKey is a valid configuration with almost every key. CERT and KEY are files.
const everyKey = `
listen: 127.0.0.1:8080
admin_listen: 127.0.0.1:9090
tls: {cert_file: CERT, key_file: KEY, client_ca_file: CERT, min_version: "1.3"}
admin:
  tls: {cert_file: CERT, key_file: KEY, client_ca_file: CERT, min_version: "1.3"}
  token: Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2FuYXJ5LTMyLWI=
  hosts: [admin.example.com]
  variables: {ids: [SCANS_KEY], secrets: [SCANS_SECRET]}
public_url: https://media.example.com
trusted_proxies: [10.0.0.0/8]
url_lifetime: 50m
min_remaining: 20m
max_signature_age: 51m
referrer_policy: no-referrer
drain_delay: 5s
include: [integrations.d/*.yaml]
integrations:
  - name: shared
    permitted_buckets: [photos, "team-*"]
    role_arn: arn:aws:iam::123456789012:role/s3redirect
    external_id: 9d0c3a53-6d1f-4f0e-9f55-1f1f1f1f1f1f
    region: auto
  - name: lab
    bucket: my-bucket
    role_arn: arn:aws:iam::210987654321:role/reader
    external_id: 1c6f2f0a-58b7-4f0e-8a53-2e2e2e2e2e2e
    region: eu-central-1
    session_name: s3redirect-lab
    session_tags: {team: media}
    transitive_tags: [team]
    source_identity: s3redirect
    session_duration: 1h
    session_policy: true
    file_versioning: true
    list_bucket: false
    response_cache_control: private, max-age=60
    overrides: safe
    in_place: {suffixes: [.m3u8, .mpd], max_bytes: 1MiB}
    content_types: {.svg: image/svg+xml, .wasm: application/wasm}
    requester_pays: false
    dualstack: false
    fips: false
    accelerate: false
    own_credentials: false
    url_lifetime: 20m
    min_remaining: 10m
    max_signature_age: 51m
  - name: point
    bucket: pictures
    access_point: arn:aws:s3:eu-central-1:210987654321:accesspoint/reader
    role_arn: arn:aws:iam::210987654321:role/reader
    web_identity_token_file: /var/run/secrets/token
  - name: own
    bucket: own-bucket
    own_credentials: true
    region: eu-central-1
  - name: onprem
    bucket: scans
    endpoint: https://minio.internal:9000
    path_style: true
    region: us-east-1
    insecure: false
    sts_endpoint: https://minio.internal:9000
    role_arn: arn:minio:iam:::role/s3redirect
    sts_region: us-east-1
    access_key_id: AKIA
    secret_access_key: hunter2
viewers:
  anonymous: true
  forwarded:
    user_header: X-Auth-Request-Email
    groups_header: X-Auth-Request-Groups
    groups_separator: "|"
    trusted_proxies: [10.0.0.0/8]
  jwt:
    - issuer: https://id.example.com
      audience: media
      audience_claims: [aud]
      jwks_url: https://id.example.com/keys
      insecure: false
      algorithms: [RS256, ES256]
      cookie: session
      header: Cf-Access-Jwt-Assertion
      user_claim: email
      lowercase_user: true
      groups_claim: groups
      required_claims: {hd: example.com}
      leeway: 30s
  basic: {htpasswd_file: /etc/s3redirect/htpasswd}
  links:
    keys: [{id: k1, secret: Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2FuYXJ5LTMyLWI=}]
    max_lifetime: 24h
    cookie: link
  rules:
    - {groups: [suspended], locators: ["s3://*/*"], deny: true}
    - {users: [ann@example.com], groups: [lab], locators: ["s3://my-bucket/*"]}
    - {known: true, locators: ["s3://photos/users/{user}/*"]}
    - {anonymous: true, locators: ["s3://photos/public/*"]}
  rate_limit: {per_second: 50, burst: 500}
  attribution: true
cors: {allowed_origins: [https://app.example.com]}
cache:
  urls: 65536
  credentials: 1000
  redis:
    url: rediss://127.0.0.1:6379/0
    username: s3redirect
    password: hunter2
    key_prefix: "media:"
    tls: {ca_file: CERT, cert_file: CERT, key_file: KEY}
    encryption_key: Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2FuYXJ5LTMyLWI=
    old_encryption_keys: [Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2FuYXJ5LTMyLWI=]
log: {level: info, format: json, access: true, access_format: combined, audit: /var/log/audit.log}
`

// otherWays are configurations with the keys that everyKey cannot have, or in which one of its keys
// is the only way to make them valid.
var otherWays = []string{
	`listen: :8080
viewers: {anonymous: true}
integrations:
  - {name: a, bucket: aaa, endpoint: "http://10.1.2.3:9000", path_style: true, insecure: true,
     region: local, access_key_id: AKIA, secret_access_key: hunter2}
  - {name: r, bucket: bbb, role_arn: "arn:aws-cn:iam::123456789012:role/r", region: cn-north-1,
     session_duration: 45m, url_lifetime: 30m}
`, `listen: :8080
admin: {token: Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2FuYXJ5LTMyLWI=}
viewers: {jwt: {issuer: "http://id.example.com", insecure: true, audience: [a], jwks_url: "http://id.example.com/x"}}
`, `listen: :8080
url_lifetime: 20m
viewers: {forwarded: {user_header: X-User, trusted_proxies: [10.0.0.1]}}
integrations:
  - {name: a, bucket: aaa, role_arn: "arn:aws:iam::123456789012:role/r", region: us-east-1,
     session_duration: 25m, min_remaining: 5m}
`, `listen: :8080
max_signature_age: 10m
viewers: {basic: {htpasswd_file: users}}
integrations:
  - {name: a, bucket: aaa, role_arn: "arn:aws:iam::123456789012:role/r", region: us-east-1,
     max_signature_age: 20m, url_lifetime: 20m, response_cache_control: max-age=200}
`, `listen: :8080
viewers: {links: {keys: [{id: k, secret: Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2FuYXJ5LTMyLWI=}]}}
trusted_proxies: [10.0.0.0/8]
integrations:
  - {name: a, bucket: aaa, role_arn: "arn:aws:iam::123456789012:role/r", region: us-east-1, fips: true}
  - {name: x, bucket: bbb, role_arn: "arn:aws:iam::123456789012:role/r", region: us-east-1,
     access_key_id: AKIA, secret_access_key: hunter2, session_duration: 12h, url_lifetime: 11h}
`, `listen: [127.0.0.1:8080, "unix:/run/viewers.sock?mode=0660"]
admin_listen: [127.0.0.1:9090, "unix:/run/admin.sock"]
proxy_protocol: true
trusted_proxies: [unix, 10.0.0.0/8]
viewers: {anonymous: true}
integrations:
  - {name: a, bucket: aaa, role_arn: "arn:aws:iam::123456789012:role/r", region: us-east-1}
cache:
  redis:
    url: rediss://127.0.0.1:6379/0
    elasticache_iam: {cache: media, user: proxy, region: us-east-1, serverless: false}
    encryption_key: Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2FuYXJ5LTMyLWI=
log: {audit: stdout}
metrics: {integrations: all}
`, `listen: :8080
viewers: {anonymous: true}
integrations:
  - {name: a, bucket: films, prefix: tenant-a/, blocked_prefixes: [tenant-a/raw/],
     role_arn: "arn:aws:iam::123456789012:role/r", region: us-east-1,
     kms_keys: ["arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"]}
`, `listen: :8080
metrics: {integrations: all}
viewers: {anonymous: true}
integrations:
  - {name: a, bucket: films, prefix: a/, blocked_prefixes: [a/raw/], region: us-east-1,
     kms_keys: ["arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"],
     role_arn: "arn:aws:iam::123456789012:role/r"}
  - {name: b, bucket: films, prefix: b/, role_arn: "arn:aws:iam::123456789012:role/r", region: us-east-1}
  - {name: c, bucket: films, role_arn: "arn:aws:iam::123456789012:role/r", region: us-east-1}
`, `listen: :8080
tls: {cert_file: CERT, key_file: KEY}
admin: {tls: {cert_file: CERT, key_file: KEY}}
viewers: {anonymous: true}
integrations:
  - {name: a, bucket: aaa, role_arn: "arn:aws:iam::123456789012:role/r", region: us-east-1}
cache:
  redis:
    url: rediss://127.0.0.1:6379/0
    password: hunter2
    tls: {cert_file: CERT, key_file: KEY}
    encryption_key: Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2FuYXJ5LTMyLWI=
`}

// A value that cannot be parsed has one error, about this value. Its key counts as neither missing
// nor set to its default in other checks.
func TestBrokenValueHasOneError(t *testing.T) {
	broken := map[string]bool{}
	certificate, key := writePair(t)
	files := strings.NewReplacer(": CERT", ": "+certificate, ": KEY", ": "+key)
	f := newFolder(t, map[string]string{"integrations.d/": ""})
	for _, text := range append(otherWays, everyKey) {
		text = files.Replace(text)
		f.write("config.yaml", text)
		if _, err := Load(f.config()); err != nil {
			t.Fatalf("%s: Load() reports %s, want no error", text, err)
		}
		var root yaml.Node
		if err := yaml.Unmarshal([]byte(text), &root); err != nil {
			t.Fatal(err)
		}
		breakEach(f, &root, root.Content[0], "", broken)
	}
	for _, key := range keysOf(reflect.TypeFor[Config](), "") {
		if !broken[key] {
			t.Errorf("no configuration of this test has the key %s", key)
		}
	}
}

// writePair writes a certificate and its key, and returns the paths of the PEM files.
func writePair(t *testing.T) (certificate, key string) {
	t.Helper()
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	pair, dir := server.TLS.Certificates[0], t.TempDir()
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	certificate, key = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	for path, block := range map[string]*pem.Block{
		certificate: {Type: "CERTIFICATE", Bytes: pair.Certificate[0]},
		key:         {Type: "PRIVATE KEY", Bytes: der},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certificate, key
}

// keysOf returns the keys that a type decodes, such as cache.redis.url, below a key.
func keysOf(t reflect.Type, key string) (keys []string) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	for field := range t.Fields() {
		if name := field.Tag.Get("yaml"); name != "" && name != "-" {
			at := join(key, name)
			keys = append(append(keys, at), keysOf(field.Type, at)...)
		}
	}
	return keys
}

// join returns the key of a name below another key. Items of lists have the key of their list.
func join(key, name string) string {
	return strings.TrimPrefix(key+"."+name, ".")
}

// breakEach breaks each value below n, one at a time, in each way that a value can be unparsable,
// and checks that Load reports one error. It adds the keys of the values to broken.
func breakEach(f *folder, root, n *yaml.Node, key string, broken map[string]bool) {
	f.t.Helper()
	unset := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: "${NOT_SET}"}
	list := &yaml.Node{Kind: yaml.SequenceNode, Content: []*yaml.Node{
		{Kind: yaml.SequenceNode, Content: []*yaml.Node{unset}}}}
	for i, child := range n.Content {
		at := key
		if n.Kind == yaml.MappingNode {
			if i%2 == 0 {
				continue // a key
			}
			at = join(key, n.Content[i-1].Value)
		}
		good := *child
		for _, bad := range []*yaml.Node{unset, list} {
			*child = *bad
			text, err := yaml.Marshal(root)
			if err != nil {
				f.t.Fatal(err)
			}
			f.write("config.yaml", string(text))
			if _, err := Load(f.config()); err == nil || strings.Contains(err.Error(), "\n") {
				f.t.Errorf("%s = %q: Load() reports\n%v\nwant one error", at, bad.Value, err)
			}
		}
		broken[at] = true
		*child = good
		breakEach(f, root, child, at, broken)
	}
}
