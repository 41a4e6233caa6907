package check

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"syscall"

	"s3redirect/internal/config"
	"s3redirect/internal/integration"
	"s3redirect/internal/sessionstore"
)

// redis connects to the store of shared sessions and uses it as the proxy does.
func (o *Options) redis(ctx context.Context) (Verdict, explanation) {
	r := o.Config.Cache.Redis
	store, err := sessionstore.NewRedis(sessionstore.FromConfig(r, &integration.AWSSTS{}))
	if err != nil {
		return Failed, explanation{"cache.redis cannot be used: " + err.Error(),
			"Correct cache.redis; check --offline names the key."}
	}
	defer store.Close()
	servers := redisServers(r)
	if err := store.Try(ctx); err != nil {
		return Failed, explainRedis(r, servers, err)
	}
	return OK, explanation{reason: servers + ": a value was written, read and deleted, with " +
		"the key prefix " + r.KeyPrefix + "s3redirect:"}
}

// redisServers returns the hosts and ports of the servers, without users and passwords.
func redisServers(r *config.Redis) string {
	u, err := url.Parse(string(r.URL))
	if err != nil {
		return "the server"
	}
	return strings.Join(append([]string{u.Host}, u.Query()["addr"]...), ", ")
}

// explainRedis explains an error of [sessionstore.Redis.Try].
func explainRedis(r *config.Redis, servers string, err error) explanation {
	if reply, ok := errors.AsType[*sessionstore.ReplyError](err); ok {
		e := explainReply(r, reply)
		return explanation{"Redis at " + servers + ": " + e.reason, e.remedy}
	}
	if file, ok := errors.AsType[*sessionstore.FileError](err); ok {
		return explanation{"cache.redis.tls: " + file.Error(),
			"Make the PEM files readable for the proxy's user, and complete."}
	}
	if errors.Is(err, integration.ErrOwnCredentials) {
		return explanation{"the proxy has no AWS credentials of its own for elasticache_iam",
			"Give the proxy a role (instance, container, web identity) or AWS_ACCESS_KEY_ID and " +
				"AWS_SECRET_ACCESS_KEY, with a policy that allows elasticache:Connect."}
	}
	return explainRedisNetwork(r, servers, err)
}

// needsCertificate is what to do if a server ends a TLS connection. With TLS 1.3 it verifies the
// client after the client's part of the handshake, so that its alert may be lost.
const needsCertificate = "If the server requires a client certificate, set cert_file and key_file in " +
	"cache.redis.tls, signed by an authority that the server trusts (its tls-ca-cert-file)."

// explainRedisNetwork explains why there is no connection, with remedies in the keys of cache.redis.
func explainRedisNetwork(r *config.Redis, servers string, err error) explanation {
	e := explainNetwork("Redis", servers, sessionstore.Timeout, err)
	_, isDNS := errors.AsType[*net.DNSError](err)
	_, isTLS := explainTLS("Redis", servers, err)
	netErr, _ := errors.AsType[net.Error](err)
	switch {
	case strings.Contains(err.Error(), "remote error: tls:"):
		return explanation{"Redis at " + servers + " rejected the TLS handshake", needsCertificate}
	case isDNS:
		e.remedy = "Check the spelling of the host in cache.redis.url, and the name server that this " +
			"machine or container uses."
	case isTLS && strings.Contains(e.reason, "does not use TLS"):
		e.remedy = "Write cache.redis.url with redis:// or valkey://, or turn on TLS at the server."
	case isTLS && strings.Contains(e.reason, "another name"):
		e.remedy = strings.Replace(e.remedy, "the endpoint", "cache.redis.url", 1)
	case isTLS && strings.Contains(e.reason, "unknown authority"):
		e.remedy = "Name the file of the authority in ca_file of cache.redis.tls."
	case isTLS:
	case errors.Is(err, syscall.ECONNREFUSED):
		e.remedy = "Start the server, or correct the host and port in cache.redis.url."
	case isClosed(err) && r.UsesTLS():
		e.remedy = needsCertificate + " If it does not use TLS, write cache.redis.url with redis:// or " +
			"valkey://. Otherwise look in the server's log, and for a firewall between here and it."
	case isClosed(err):
		e.remedy = "If the server uses TLS, write cache.redis.url with rediss:// or valkeys://. " +
			"Otherwise look in the server's log, and for a firewall between here and it."
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		netErr != nil && netErr.Timeout():
		e.remedy = "Look for a firewall, a security group or a missing route."
		if !r.UsesTLS() {
			e.remedy += " If the server uses TLS, write cache.redis.url with rediss:// or valkeys://."
		}
	default:
		e.remedy = "Connect from this machine with redis-cli, and fix the error that it prints. With " +
			"Sentinels, check master_set in cache.redis.url."
	}
	return e
}

// documentedCommands are what an ACL user needs, as docs/deployment/replicas.md lists it.
const documentedCommands = "+getrange +get +set +del +eval +evalsha +hello +client +ping +select " +
	"+info +cluster +role"

// explainReply explains an error reply of the server. It quotes the code only, because a server may
// repeat a command with its arguments.
func explainReply(r *config.Redis, reply *sessionstore.ReplyError) explanation {
	switch code := reply.Code(); {
	case r.IAM != nil && (code == "WRONGPASS" || code == "NOAUTH"):
		return explanation{"the IAM token was rejected",
			"Check cache, user and region of elasticache_iam, serverless, that the user has IAM " +
				"authentication and is in the cache's user group, that the proxy's policy allows " +
				"elasticache:Connect for both, and this machine's clock."}
	case code == "WRONGPASS" || reply.Mentions("invalid password"):
		return explanation{"the user or the password was rejected",
			"Correct username and password of cache.redis. In the URL, they must be percent-encoded."}
	case code == "NOAUTH":
		return explanation{"the server requires a password", "Set password, and username for an ACL " +
			"user, in cache.redis."}
	case reply.Mentions("without any password configured"), reply.Mentions("no password is set"):
		return explanation{"the server has no password, but the configuration has one",
			"Remove password from cache.redis, or set one at the server."}
	case code == "NOPERM":
		return explainDenied(r, reply)
	case code == "READONLY":
		return explanation{"the server is a read-only replica", "Write the primary's address in " +
			"cache.redis.url, or those of its Sentinels with master_set."}
	case code == "OOM", code == "MISCONF":
		return explanation{fmt.Sprintf("the server accepts no writes (%s)", code),
			"For OOM, raise maxmemory or let the server evict keys (maxmemory-policy); for MISCONF, fix " +
				"what its log reports about saving to disk."}
	case code == "LOADING", code == "MASTERDOWN", code == "CLUSTERDOWN", code == "TRYAGAIN", code == "BUSY":
		return explanation{fmt.Sprintf("the server is not ready (%s)", code),
			"Try again in a minute. If the error persists, look in the server's log."}
	case code == "DENIED":
		return explanation{"the server is in protected mode, which accepts local clients only",
			"Set a password or an ACL user at the server, and in cache.redis."}
	case reply.Mentions("DB index is out of range"), reply.Mentions("SELECT is not allowed"):
		return explanation{"the server does not have the database in cache.redis.url",
			"Correct the number at the end of cache.redis.url; a cluster has only database 0."}
	case reply.Mentions("no such master"):
		return explanation{"the Sentinels do not know the master", "Set master_set in cache.redis.url to " +
			"a name that SENTINEL MASTERS lists."}
	}
	return explanation{"the server replied with an error",
		"Check with redis-cli that the server is Redis or Valkey and knows the commands " +
			documentedCommands + "."}
}

// explainDenied explains a reply that an ACL denies a command or a key.
func explainDenied(r *config.Redis, reply *sessionstore.ReplyError) explanation {
	reason := "the user may not use the keys " + r.KeyPrefix + "s3redirect:*"
	if command := reply.Command(); command != "" {
		reason = "the user may not use the command " + command
	}
	return explanation{reason, "Allow the ACL user ~" + r.KeyPrefix + "s3redirect:* " +
		documentedCommands + "."}
}
