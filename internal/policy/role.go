package policy

import "strings"

// RoleOf returns the path and the name of the role with the given ARN.
func RoleOf(roleARN string) (path, name string) {
	_, rest, _ := strings.Cut(roleARN, ":role")
	i := strings.LastIndexByte(rest, '/')
	return rest[:i+1], rest[i+1:]
}
