// Package onboard holds what the two ways to add an integration share: the questions with their hints, defaults and
// checks, and the titles of the documents. The conversation in a terminal asks the questions one by one; the console's
// forms get them as JSON.
package onboard

import (
	"crypto/rand"
	"errors"
	"maps"
	"regexp"
	"strings"

	"s3redirect/internal/config"
	"s3redirect/internal/locator"
	"s3redirect/internal/policy/document"
)

// Question asks for the text of one key of an integration, or for something that is needed to try it.
type Question struct {
	Key   string `json:"key"`
	Group Group  `json:"group"`
	Label string `json:"label"`
	Hint  string `json:"hint,omitempty"`
	// YesNo means that the answer is true or false.
	YesNo   bool   `json:"yes_no,omitempty"`
	Default string `json:"default,omitempty"`
}

// Group is a part of a form.
type Group string

// The groups. The questions of GroupTry are not about keys of an integration.
const (
	GroupBuckets  Group = "buckets"
	GroupRole     Group = "role"
	GroupRights   Group = "rights"
	GroupStore    Group = "store"
	GroupSessions Group = "sessions"
	GroupTry      Group = "try"
)

// One is the answer to the question Several for a single bucket. The other answer is Several.
const One = "one"

// Keys of questions that are not keys of an integration.
const (
	Several   = "several"   // permitted_buckets instead of bucket
	Principal = "principal" // who assumes the role
	Sample    = "sample"    // an object to read
	Origin    = "origin"    // of a page that reads objects
	WithTags  = "with_tags" // the policies allow the actions that tags require
)

var questions = []Question{
	{Key: Several, Group: GroupTry, Label: "One bucket, or several?", Default: One,
		Hint: "Answer one or several, or type the bucket's name; a * matches any characters. " +
			"For only a folder of a bucket, type bucket/folder/."},
	{Key: "bucket", Group: GroupBuckets, Label: "Bucket",
		Hint: "The integration serves this bucket and no other, or only a part of it."},
	{Key: "prefix", Group: GroupBuckets, Label: "Prefix",
		Hint: "Only keys under it, such as tenant-a/; other integrations may serve the rest. Default: none."},
	{Key: "blocked_prefixes", Group: GroupBuckets, Label: "Blocked prefixes",
		Hint: "What no viewer may read, such as tenant-a/raw/. Separate them with blanks. Default: none."},
	{Key: "access_point", Group: GroupBuckets, Label: "Access point",
		Hint: "The ARN of the access point through which the bucket is read. Default: none."},
	{Key: "permitted_buckets", Group: GroupBuckets, Label: "Permitted buckets",
		Hint: "Separate them with blanks; * matches any characters, as in team-*."},
	{Key: "name", Group: GroupBuckets, Label: "Name",
		Hint: "Identifies the integration in metrics and logs. Default: the bucket's name."},
	{Key: "region", Group: GroupBuckets, Label: "Region",
		Hint: "The region of the buckets, or auto to look it up.", Default: config.RegionAuto},

	{Key: "role_arn", Group: GroupRole, Label: "Role ARN",
		Hint: "The ARN of the role that you created with the policies."},
	{Key: "external_id", Group: GroupRole, Label: "External ID",
		Hint: "Generated for this integration. The role's trust policy requires it, so that no " +
			"other customer of the proxy can have it use the role."},

	{Key: "file_versioning", Group: GroupRights, Label: "Older versions may be read (?versionId=)",
		YesNo: true, Default: "false"},
	{Key: "list_bucket", Group: GroupRights,
		Label: "The role has s3:ListBucket: a missing key is a 404, not a 403", YesNo: true, Default: "false"},
	{Key: "requester_pays", Group: GroupRights, Label: "The requester pays, not the bucket's owner",
		YesNo: true, Default: "false"},

	{Key: "endpoint", Group: GroupStore, Label: "Endpoint",
		Hint: "The URL of an S3-compatible store, as browsers reach it. Default: AWS."},
	{Key: "path_style", Group: GroupStore,
		Label: "The store expects the bucket in the path (https://host/bucket/key)", YesNo: true, Default: "false"},
	{Key: "dualstack", Group: GroupStore, Label: "Use AWS's hosts with IPv6 addresses",
		YesNo: true, Default: "false"},
	{Key: "fips", Group: GroupStore, Label: "Use AWS's FIPS hosts", YesNo: true, Default: "false"},
	{Key: "accelerate", Group: GroupStore, Label: "Use S3 Transfer Acceleration",
		YesNo: true, Default: "false"},
	{Key: "sts_endpoint", Group: GroupStore,
		Label: "STS endpoint",
		Hint:  "The URL where the store's roles are assumed. Default: AWS, or for another store none, and keys sign."},
	{Key: "sts_region", Group: GroupStore, Label: "Region of the STS",
		Hint: "Default: the proxy's own region, or else the buckets'."},
	{Key: "web_identity_token_file", Group: GroupStore, Label: "File of a web identity token",
		Hint: "The role is assumed with it instead of the proxy's own credentials."},
	{Key: "own_credentials", Group: GroupStore,
		Label: "Sign with the proxy's own credentials, without a role", YesNo: true, Default: "false"},
	{Key: "access_key_id", Group: GroupStore, Label: "Access key ID",
		Hint: "The environment variable that holds it, such as ${SCANS_KEY}."},
	{Key: "secret_access_key", Group: GroupStore, Label: "Secret access key",
		Hint: "The environment variable that holds it, such as ${SCANS_SECRET}. The secret itself " +
			"stays out of the file."},
	{Key: "insecure", Group: GroupStore, Label: "Allow http:// to other machines", YesNo: true, Default: "false"},

	{Key: "session_name", Group: GroupSessions, Label: "Session name",
		Hint: "Appears in the bucket owner's logs. Default: s3redirect-NAME."},
	{Key: "session_tags", Group: GroupSessions, Label: "Session tags",
		Hint: "Such as {team: media}, for policies and logs. The trust policy must allow sts:TagSession."},
	{Key: "transitive_tags", Group: GroupSessions, Label: "Transitive session tags",
		Hint: "Names of session tags that further sessions inherit."},
	{Key: "source_identity", Group: GroupSessions, Label: "Source identity",
		Hint: "Appears in logs. The trust policy must allow sts:SetSourceIdentity."},
	{Key: "session_duration", Group: GroupSessions, Label: "Session duration",
		Hint: "15m to 12h; at most 1h if the proxy itself runs as a role. Default: 1h."},
	{Key: "session_policy", Group: GroupSessions, Label: "Limit each session to these buckets or this prefix",
		YesNo: true, Default: "true"},
	{Key: "kms_keys", Group: GroupSessions, Label: "KMS keys",
		Hint: "The ARNs of the keys that objects are encrypted with. Default: all keys of the role."},
	{Key: "response_cache_control", Group: GroupSessions,
		Label: "Cache-Control of objects",
		Hint:  "For objects that were stored without one, such as private, max-age=1800."},
	{Key: "overrides", Group: GroupSessions, Label: "Overrides",
		Hint: "The response headers that clients may override: none, safe or all. Default: safe."},
	{Key: "in_place", Group: GroupSessions, Label: "Documents answered in place",
		Hint: "Small documents that refer to others, such as {suffixes: [.m3u8, .mpd, .vtt]}. " +
			"Default: none; all objects are redirected."},
	{Key: "content_types", Group: GroupSessions, Label: "Content types",
		Hint: "By suffix, for objects that were stored without one, such as {.svg: image/svg+xml}."},
	{Key: "url_lifetime", Group: GroupSessions, Label: "URL lifetime",
		Hint: "Such as 45m. Default: that of the configuration."},
	{Key: "min_remaining", Group: GroupSessions, Label: "Minimum remaining lifetime",
		Hint: "Such as 15m. Default: that of the configuration."},
	{Key: "max_signature_age", Group: GroupSessions, Label: "Maximum age of signatures",
		Hint: "For policies or stores that reject older signatures, such as 15m. Default: no limit."},

	{Key: Principal, Group: GroupTry, Label: "Principal",
		Hint: "The ARN of the user or role that the proxy runs as, and that assumes the role."},
	{Key: WithTags, Group: GroupTry,
		Label: "The proxy's own session has tags or a source identity, as with EKS Pod Identity",
		YesNo: true, Default: "false"},
	{Key: Sample, Group: GroupTry, Label: "Sample object", Hint: "An object to read, as s3://bucket/key."},
	{Key: Origin, Group: GroupTry, Label: "Page origin",
		Hint: "The origin of a page that uses fetch(), such as https://app.example.com."},
}

// Questions returns all questions.
func Questions() []Question { return questions }

// Ask returns the question about a key, which must have one.
func Ask(key string) Question {
	for _, q := range questions {
		if q.Key == key {
			return q
		}
	}
	panic("onboard: no question about " + key)
}

// Document describes a document that an integration needs.
type Document struct {
	Kind  document.Kind `json:"kind"`
	Title string        `json:"title"`
	Hint  string        `json:"hint"`
}

var documents = []Document{
	{document.KindRole, "Role", "Creates the role, with both policies."},
	{document.KindAccess, "Access policy",
		"In IAM: Policies, Create policy, JSON. It lets the role read the buckets, and nothing else."},
	{document.KindTrust, "Trust policy",
		"In IAM: Roles, Create role, Custom " +
			"trust policy; then add the access policy. It lets the proxy assume the role, and only " +
			"with the external ID."},
	{document.KindCORS, "CORS",
		"Needed only if pages read the objects with fetch(), not for images and videos. In S3: the " +
			"bucket, Permissions, Cross-origin resource sharing."},
	{document.KindAssume, "The proxy's own policy",
		"For the principal that the proxy runs as, if the role is in another account."},
}

// Documents returns all documents.
func Documents() []Document { return documents }

// Describe returns the document of a kind, or one without texts for an unknown kind.
func Describe(kind document.Kind) Document {
	for _, d := range documents {
		if d.Kind == kind {
			return d
		}
	}
	return Document{Kind: kind}
}

// New returns the beginning of a new integration, with an external ID of its own.
func New() config.Draft {
	return config.Draft{"region": DefaultRegion(""), "external_id": rand.Text()}
}

// DefaultName returns the name of an integration that has none yet: the first bucket's and the prefix's, without the
// characters that a name must not contain.
func DefaultName(buckets []string, prefix string) string {
	if len(buckets) == 0 {
		return ""
	}
	name := strings.ReplaceAll(buckets[0], "*", "")
	if prefix != "" {
		name += "-" + notInName.ReplaceAllString(strings.TrimSuffix(prefix, "/"), "-")
	}
	return strings.Trim(name[:min(len(name), maxName)], ".-")
}

// notInName matches what an integration's name must not contain, and maxName is the length of the longest name.
var notInName = regexp.MustCompile(`[^A-Za-z0-9._]+`)

const maxName = 64

// ParseScope splits the answer to the question about buckets: buckets and patterns, or a folder of one bucket, as
// bucket/folder/ or s3://bucket/folder/.
func ParseScope(answer string) (buckets []string, prefix string) {
	bucket, prefix, isFolder := strings.Cut(strings.TrimPrefix(answer, locator.Scheme), "/")
	if !isFolder {
		return strings.Fields(answer), ""
	}
	return []string{bucket}, prefix
}

// DefaultRegion returns the default of the question about the region.
func DefaultRegion(endpoint string) string {
	store := config.Integration{Endpoint: endpoint}
	switch region := store.EndpointRegion(); {
	case !store.IsAWS():
		return "us-east-1" // what stores other than AWS take
	case region != "":
		return region
	}
	return config.RegionAuto
}

// EndpointURL returns the answer to the question about the endpoint as a URL. The hosts of S3 are
// recognized without https://.
func EndpointURL(answer string) string {
	if answer == "" || strings.Contains(answer, "://") {
		return answer
	}
	url := "https://" + answer
	if store := (config.Integration{Endpoint: url}); store.IsAWS() {
		return url
	}
	return answer
}

// placeholderRole stands for a role that will be created later.
const placeholderRole = "arn:aws:iam::000000000000:role/r"

// Check returns what is wrong with the answer to the question about a key, given the answers before.
func Check(answers config.Draft, key, answer string, getenv func(string) (string, bool)) error {
	d := with(answers, key, answer)
	if d["role_arn"] == "" {
		d["role_arn"] = placeholderRole
	}
	if key == "endpoint" {
		d["path_style"] = "true" // a later question
	}
	return problemOf(d.Check(getenv), "", key)
}

// CheckUnused is like Check, and also returns an error if another integration of the configuration uses the answer: a
// name or a bucket.
func CheckUnused(source *config.Source, answers config.Draft, key, answer string,
	getenv func(string) (string, bool)) error {
	if err := Check(answers, key, answer, getenv); err != nil {
		return err
	}
	d := with(config.Draft{"name": rand.Text(), "bucket": answers["bucket"],
		"permitted_buckets": answers["permitted_buckets"], "prefix": answers["prefix"],
		"region": config.RegionAuto, "role_arn": placeholderRole}, key, answer)
	if d["bucket"] == "" && d["permitted_buckets"] == "" {
		return nil
	}
	change, err := source.Add(d)
	if err != nil {
		return err
	}
	_, err = change.Parse(getenv)
	all, _ := errors.AsType[config.Errors](err)
	return problemOf(all, change.NewPath, key)
}

func with(d config.Draft, key, text string) config.Draft {
	d = maps.Clone(d)
	d[key] = text
	return d
}

// problemOf returns the first error about a key of a file.
func problemOf(errs config.Errors, file, key string) error {
	for _, e := range errs {
		if e.File == file && (e.Key == key || strings.HasPrefix(e.Key, key+"[")) {
			return errors.New(e.Problem)
		}
	}
	return nil
}
