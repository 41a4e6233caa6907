package config

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
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
	redisParams  = []string{"addr", "master_set", "sentinel_username", "sentinel_password"}
)

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
	u, err := url.Parse(string(r.URL))
	switch {
	case r.URL == "":
		k.wrong("cache.redis.url", "a URL is needed: redis://host:6379/0, or rediss:// with TLS")
	case err != nil || !slices.Contains(redisSchemes, u.Scheme) || u.Hostname() == "" ||
		!redisPath.MatchString(u.Path) || !redisPort(u.Port()):
		k.wrong("cache.redis.url",
			"invalid URL; write it as redis://user:password@host:6379/0, or rediss:// with TLS; "+
				"further nodes are ?addr=host:port, and Sentinels have &master_set=NAME")
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
