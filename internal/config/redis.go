package config

import (
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// decodeKey decodes 32 bytes in base64, in either alphabet, with or without padding.
func decodeKey(text Secret) ([]byte, error) {
	plain := strings.NewReplacer("-", "+", "_", "/", "=", "").Replace(string(text))
	key, err := base64.RawStdEncoding.DecodeString(plain)
	if err != nil || len(key) != 32 {
		return nil, errors.New("32 bytes in base64 are wanted, such as openssl rand -base64 32 prints")
	}
	return key, nil
}

var (
	redisSchemes = []string{"redis", "rediss", "valkey", "valkeys"}
	redisPath    = regexp.MustCompile(`^(/[0-9]{0,9})?$`)
	redisPrefix  = regexp.MustCompile(`^[A-Za-z0-9._:/-]{1,64}$`)
	cacheName    = regexp.MustCompile(`^[a-z][a-z0-9-]{0,39}$`)
	redisParams  = []string{"addr", "master_set", "sentinel_username", "sentinel_password"}
)

// UsesTLS reports whether connections use TLS.
func (r *Redis) UsesTLS() bool {
	u, err := url.Parse(string(r.URL))
	return err == nil && (u.Scheme == "rediss" || u.Scheme == "valkeys")
}

// redisPort reports whether a URL's port is missing or valid.
func redisPort(text string) bool {
	port, err := strconv.ParseUint(text, 10, 16)
	return text == "" || err == nil && port > 0
}

// checkRedis checks cache.redis. Messages show none of its values, because each is or may contain a
// secret.
func (k *checker) checkRedis() {
	r := k.Cache.Redis
	if r == nil {
		return
	}
	u, err := url.Parse(string(r.URL)) // u is nil if it is invalid
	switch {
	case r.URL == "":
		k.wrong("cache.redis.url", "a URL is needed: redis://host:6379/0, or rediss:// with TLS")
	case err != nil || !slices.Contains(redisSchemes, u.Scheme) || u.Hostname() == "" ||
		!redisPath.MatchString(u.Path) || !redisPort(u.Port()):
		k.wrong("cache.redis.url",
			"invalid URL; write it as redis://user:password@host:6379/0, or rediss:// with TLS; "+
				"further nodes are ?addr=host:port, and Sentinels have &master_set=NAME")
	// A # in a password ends the URL: user:123#x@host would connect to port 123 of the host user.
	case strings.Contains(string(r.URL), "#"):
		k.wrong("cache.redis.url", "it has a #, which ends a URL; write %%23, or set the password in "+
			"cache.redis.password")
	default:
		params, err := url.ParseQuery(u.RawQuery)
		for name := range params {
			if !slices.Contains(redisParams, name) {
				err = errors.New("unknown")
			}
		}
		if err != nil {
			k.wrong("cache.redis.url", "one of its parameters is not known; there are %s",
				strings.Join(redisParams, ", "))
		}
	}
	if u != nil && u.User != nil && (r.Username != "" || r.Password != "" || r.IAM != nil) {
		k.wrong("cache.redis.url", "it has a user or a password, and so have username, password or elasticache_iam; "+
			"remove it from the URL").Needs = []string{"cache.redis.username", "cache.redis.password"}
	}
	if r.KeyPrefix != "" && !redisPrefix.MatchString(r.KeyPrefix) {
		k.wrong("cache.redis.key_prefix", "use at most 64 letters, digits and . _ : / -")
	}
	if r.TLS != nil {
		k.checkRedisTLS(r)
	}
	if r.IAM != nil {
		k.checkRedisIAM(r)
	}
	if r.EncryptionKey == "" {
		k.wrong("cache.redis.encryption_key",
			"a key is needed, the same at all replicas: 32 bytes in base64, such as openssl rand -base64 32 prints")
	} else if _, err := decodeKey(r.EncryptionKey); err != nil {
		k.wrong("cache.redis.encryption_key", "%v", err)
	}
	for n, old := range r.OldEncryptionKeys {
		if _, err := decodeKey(old); err != nil {
			k.wrong(fmt.Sprintf("cache.redis.old_encryption_keys[%d]", n), "%v", err)
		}
	}
}

// checkRedisTLS checks the names of the files. [certificateProblems] reads them.
func (k *checker) checkRedisTLS(r *Redis) {
	const at = "cache.redis.tls"
	if !r.UsesTLS() {
		k.wrong(at, "it applies only to TLS; write the URL with rediss:// or valkeys://, or remove tls").
			Needs = []string{"cache.redis.url"}
	}
	switch t := r.TLS; {
	case (t.CertFile == "") != (t.KeyFile == ""):
		k.wrong(at, "set both cert_file and key_file, or neither").
			Needs = []string{at + ".cert_file", at + ".key_file"}
	case *t == (RedisTLS{}):
		k.wrong(at, "it is empty; set ca_file, or cert_file and key_file, or remove tls").
			Needs = []string{at + ".ca_file", at + ".cert_file", at + ".key_file"}
	}
}

// checkRedisIAM checks the names of a cache and a user of ElastiCache. AWS requires TLS for IAM.
func (k *checker) checkRedisIAM(r *Redis) {
	const at = "cache.redis.elasticache_iam"
	if r.Username != "" || r.Password != "" {
		k.wrong(at, "the user and the password come from IAM; remove username and password, or this key")
	}
	if !r.UsesTLS() {
		k.wrong(at, "ElastiCache accepts IAM only over TLS; write the URL with rediss:// or valkeys://").
			Needs = []string{"cache.redis.url"}
	}
	if !cacheName.MatchString(r.IAM.Cache) {
		k.wrong(at+".cache", "the name of the replication group or serverless cache is needed: small "+
			"letters, digits and '-'")
	}
	if !cacheName.MatchString(r.IAM.User) {
		k.wrong(at+".user", "the ID of the user is needed: small letters, digits and '-'; its name must "+
			"be the same")
	}
	if !region.MatchString(r.IAM.Region) {
		k.wrong(at+".region", "%s is not a region; write it as us-east-1", value(at+".region"))
	}
}

// redisFileProblems reads the files of cache.redis.tls.
func (k *checker) redisFileProblems(t *RedisTLS) {
	const at = "cache.redis.tls"
	if t.CAFile != "" {
		text, err := os.ReadFile(t.CAFile)
		if err != nil {
			k.wrong(at+".ca_file", "%v: %v; give a PEM file of certificate authorities", value(at+".ca_file"),
				withoutPath(err))
		} else if !x509.NewCertPool().AppendCertsFromPEM(text) {
			k.wrong(at+".ca_file", "%v: it has no certificate; give a PEM file of certificate authorities",
				value(at+".ca_file"))
		}
	}
	k.pairProblems(at, TLS{CertFile: t.CertFile, KeyFile: t.KeyFile})
}
