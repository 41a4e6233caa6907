package integration

import (
	"encoding/json"
	"unicode/utf8"

	"s3redirect/config"
	"s3redirect/presign"
)

// maxSessionPolicy is STS's limit of an inline session policy, in characters.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
const maxSessionPolicy = 2048

type policyDocument struct {
	Version   string
	Statement []policyStatement
}

type policyStatement struct {
	Effect    string
	Action    []string
	Resource  []string
	Condition map[string]map[string]string `json:",omitempty"`
}

// sessionPolicy narrows a session to reading the objects of the integration's own buckets. It does not fit where there are
// too many of them; then it is "", and fits is false.
func sessionPolicy(c *config.Integration) (document string, fits bool) {
	if c.RoleARN == "" || !c.SessionPolicy {
		return "", true
	}
	partition := "aws"
	if c.STSEndpoint == "" {
		partition = presign.PartitionOf(homeRegion(c)).Name
	}
	read := policyStatement{Effect: "Allow", Action: []string{"s3:GetObject"}}
	if c.FileVersioning {
		read.Action = append(read.Action, "s3:GetObjectVersion")
	}
	for _, bucket := range bucketsOf(c) {
		read.Resource = append(read.Resource, "arn:"+partition+":s3:::"+bucket+"/*")
	}
	policy := policyDocument{Version: "2012-10-17", Statement: []policyStatement{read}}
	if c.STSEndpoint == "" {
		// A session may do no more than its policy says, and an object under SSE-KMS is decrypted with the reader's rights.
		policy.Statement = append(policy.Statement, policyStatement{Effect: "Allow", Action: []string{"kms:Decrypt"}, Resource: []string{"*"},
			Condition: map[string]map[string]string{"StringLike": {"kms:ViaService": "s3.*"}}})
	}
	text, err := json.Marshal(policy)
	if err != nil || utf8.RuneCount(text) > maxSessionPolicy {
		return "", false
	}
	return string(text), true
}

// bucketsOf are the names and patterns that an integration serves.
func bucketsOf(c *config.Integration) []string {
	if c.Bucket != "" {
		return []string{c.Bucket}
	}
	return c.PermittedBuckets
}
