package policy

import "strings"

// Scope is what an integration reads.
type Scope struct {
	// AWS means that the store is AWS's S3.
	AWS bool
	// Partition is the partition of the ARNs.
	Partition string
	// Buckets are names of buckets, or patterns.
	Buckets []string
	// AccessPoint is the ARN of the access point that stands for the bucket. Optional.
	AccessPoint string
	// Prefix is the prefix of all keys. Optional. The policies name it literally if CanName reports
	// true.
	Prefix string
	// BlockedPrefixes are the prefixes of keys that are not read. Optional.
	BlockedPrefixes []string
	// Versions allows reading older versions, List makes S3 answer 404 for missing keys, and Location
	// allows asking for a bucket's region.
	Versions, List, Location bool
	// KMSKeys are the ARNs of the KMS keys that objects are encrypted with. Optional.
	KMSKeys []string
}

// readStatements returns the statements that allow reading objects. HeadObject requires
// s3:GetObject, too.
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html
func (s *Scope) readStatements() []Statement {
	get := Statement{Effect: "Allow", Action: []string{"s3:GetObject"}}
	if s.Versions {
		get.Action = append(get.Action, "s3:GetObjectVersion")
	}
	buckets := s.buckets()
	get.Resource = s.objects(s.Prefix)
	statements := []Statement{get}
	if s.List {
		list := Statement{Effect: "Allow", Action: []string{"s3:ListBucket"}, Resource: buckets}
		if s.Prefix != "" {
			// The star also matches the empty text, and so the listing of exactly the prefix.
			// https://docs.aws.amazon.com/AmazonS3/latest/userguide/amazon-s3-policy-keys.html
			list.Condition = map[string]map[string]string{
				"StringLike": {"s3:prefix": s.escape(s.Prefix) + "*"},
			}
		}
		statements = append(statements, list)
	}
	if s.Location {
		statements = append(statements, Statement{
			Effect: "Allow", Action: []string{"s3:GetBucketLocation"}, Resource: buckets,
		})
	}
	if len(s.BlockedPrefixes) > 0 {
		deny := Statement{Effect: "Deny", Action: get.Action}
		for _, prefix := range s.BlockedPrefixes {
			deny.Resource = append(deny.Resource, s.objects(prefix)...)
		}
		statements = append(statements, deny)
	}
	return statements
}

// buckets returns the ARNs of the buckets. IAM does not know an access point by its alias.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-points-policies.html
func (s *Scope) buckets() (arns []string) {
	if s.AccessPoint != "" {
		return []string{s.AccessPoint}
	}
	for _, bucket := range s.Buckets {
		arns = append(arns, "arn:"+s.Partition+":s3:::"+bucket)
	}
	return arns
}

// objects returns the ARNs of the objects under a prefix in all buckets.
func (s *Scope) objects(prefix string) (arns []string) {
	separator := "/"
	if s.AccessPoint != "" {
		separator = "/object/"
	}
	for _, arn := range s.buckets() {
		arns = append(arns, arn+separator+s.escape(prefix)+"*")
	}
	return arns
}

// CanName reports whether the store's policies can name a prefix so that it matches no other keys.
// AWS has an escape for characters with a meaning in policies; other stores do not. radosgw refuses
// a condition whose value begins with a dollar sign.
func (s *Scope) CanName(prefix string) bool {
	return s.AWS || !strings.ContainsAny(prefix, "*?") && !strings.Contains(prefix, "${") &&
		!strings.HasPrefix(prefix, "$")
}

// escape returns a prefix as the policies of AWS name it literally.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html#policy-vars-specialchars
func (s *Scope) escape(prefix string) string {
	if !s.AWS {
		return prefix
	}
	return escapeVariables.Replace(prefix)
}

var escapeVariables = strings.NewReplacer("*", "${*}", "?", "${?}", "$", "${$}")
