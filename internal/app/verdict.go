package app

import (
	"fmt"

	"s3redirect/internal/config"
	"s3redirect/internal/locator"
	"s3redirect/internal/viewer"
)

// Verdict reports whether a viewer would receive an object's URL, and why.
func Verdict(
	c *config.Config, v viewer.Viewer, l locator.Locator,
) (allowed bool, reason string) {
	who := v.ID
	if who == "" {
		who = "an anonymous client"
		if !c.Viewers.Anonymous {
			return false, "denied: viewers.anonymous is off"
		}
	}
	object := locator.Printable(l.String())
	d := viewer.NewRules(c.Viewers.Rules).Decide(&v, l)
	switch {
	case d.Rule == 0 && !d.Allowed:
		return false, fmt.Sprintf("denied: no rule allows %s to read %s", who, object)
	case !d.Allowed:
		return false, fmt.Sprintf("denied by viewers.rules[%d]: %s may not read %s",
			d.Rule-1, who, object)
	}
	if by, ok := c.Blocked(l); ok {
		return false, fmt.Sprintf("denied by blocked_prefixes of integration %s: no viewer may read %s",
			by.Name, object)
	}
	server, ok := c.ServedBy(l)
	switch {
	case !ok:
		return false, fmt.Sprintf("denied: no integration serves %s", object)
	case d.Rule == 0:
		return true, fmt.Sprintf("allowed, because there are no rules: %s may read %s, "+
			"which integration %s serves", who, object, server.Name)
	}
	return true, fmt.Sprintf("allowed by viewers.rules[%d]: %s may read %s, "+
		"which integration %s serves", d.Rule-1, who, object, server.Name)
}

// Unserved returns why the proxy would refuse every link to t, or "".
func Unserved(c *config.Config, t viewer.Target) string {
	if by, ok := c.Blocked(t.Locator); ok {
		return fmt.Sprintf("no viewer may read %s: it is under blocked_prefixes of integration %s",
			locator.Printable(t.String()), by.Name)
	}
	if len(servers(c, t)) == 0 {
		return "no integration serves " + locator.Printable(t.String())
	}
	return ""
}
