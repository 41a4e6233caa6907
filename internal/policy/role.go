package policy

import (
	"strings"

	"s3redirect/internal/config"
)

// RoleName returns the default name of an integration's role.
func RoleName(i *config.Integration) string {
	name := "s3redirect-" + i.Name
	return name[:min(len(name), 64)]
}

// PlaceholderRoleARN returns a valid ARN for a role that does not exist yet. If the integration's
// region is auto, the ARN is in the partition of principal, if that is known, because a principal
// cannot assume a role of another partition.
func PlaceholderRoleARN(i *config.Integration, principal string) string {
	partition := i.Partition()
	parts := strings.Split(principal, ":")
	if i.Region == config.RegionAuto && len(parts) == 6 && i.IsAWS() {
		partition = parts[1]
	}
	return "arn:" + partition + ":iam::000000000000:role/" + RoleName(i)
}

// RoleOf returns the path and the name of the role with the given ARN.
func RoleOf(roleARN string) (path, name string) {
	_, rest, _ := strings.Cut(roleARN, ":role")
	i := strings.LastIndexByte(rest, '/')
	return rest[:i+1], rest[i+1:]
}
