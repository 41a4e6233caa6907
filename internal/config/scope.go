package config

import (
	"strings"

	"s3redirect/internal/policy"
)

// Scope returns what the integration reads, for its policies.
func (i *Integration) Scope() *policy.Scope {
	return &policy.Scope{
		AWS:         i.IsAWS(),
		Partition:   i.Partition(),
		Buckets:     i.Buckets(),
		AccessPoint: i.AccessPoint,
		Versions:    i.FileVersioning,
		List:        i.ListBucket,
		Location:    !i.IsAWS() && i.FixedRegion() == "",
	}
}

// SessionDocument returns the session policy that limits a session to reading the integration's
// buckets. It returns "" if the integration has no role or has session_policy off. If the policy
// would be too long for STS, it returns "" and fits is false.
func (i *Integration) SessionDocument() (text string, fits bool) {
	if i.RoleARN == "" || !i.SessionPolicy {
		return "", true
	}
	return policy.Session(i.Scope())
}

// RoleName returns the default name of the integration's role.
func (i *Integration) RoleName() string {
	name := "s3redirect-" + i.Name
	return name[:min(len(name), 64)]
}

// PlaceholderRoleARN returns a valid ARN for a role that does not exist yet. If the integration's
// region is auto, the ARN is in the partition of principal, if that is known, because a principal
// cannot assume a role of another partition.
func (i *Integration) PlaceholderRoleARN(principal string) string {
	partition := i.Partition()
	parts := strings.Split(principal, ":")
	if i.Region == RegionAuto && len(parts) == 6 && i.IsAWS() {
		partition = parts[1]
	}
	return "arn:" + partition + ":iam::000000000000:role/" + i.RoleName()
}
