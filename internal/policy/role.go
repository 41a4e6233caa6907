package policy

import (
	"strings"

	"s3redirect/internal/config"
)

// RoleName is what an integration's role is called that has no name yet.
func RoleName(i *config.Integration) string {
	name := "s3redirect-" + i.Name
	return name[:min(len(name), 64)]
}

// PlaceholderRoleARN is a role's ARN that is in order, as long as there is none. Where the region is to be found, the partition is that of our
// principal, if it is known: nothing reaches from one partition into another.
func PlaceholderRoleARN(i *config.Integration, principal string) string {
	partition := i.Partition()
	if parts := strings.Split(principal, ":"); i.Region == config.RegionAuto && len(parts) == 6 && i.IsAWS() {
		partition = parts[1]
	}
	return "arn:" + partition + ":iam::000000000000:role/" + RoleName(i)
}

// RoleOf splits a role's ARN into its path and its name.
func RoleOf(roleARN string) (path, name string) {
	_, rest, _ := strings.Cut(roleARN, ":role")
	i := strings.LastIndexByte(rest, '/')
	return rest[:i+1], rest[i+1:]
}
