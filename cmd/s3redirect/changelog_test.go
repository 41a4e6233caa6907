package main

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"
)

// TestChangelog checks the form of CHANGELOG.md: Unreleased comes first, and then the versions with
// their dates, the newest first. The chart is released with the program, so both of its versions are
// the newest one.
func TestChangelog(t *testing.T) {
	headings := matches(`(?m)^## (.*)$`, read(t, "CHANGELOG.md"))
	if len(headings) < 2 || headings[0][1] != "Unreleased" {
		t.Fatalf("the headings are %q, want Unreleased and at least one version", headings)
	}
	version := regexp.MustCompile(`^(\d+)\.(\d+)\.(\d+) - (\S+)$`)
	var newest string
	var previous []int
	var previousDate string
	for _, h := range headings[1:] {
		m := version.FindStringSubmatch(h[1])
		if m == nil {
			t.Errorf("heading %q, want one such as 1.2.3 - 2026-01-31", h[1])
			continue
		}
		var numbers []int
		for _, digits := range m[1:4] {
			n, err := strconv.Atoi(digits)
			if err != nil {
				t.Fatal(err)
			}
			numbers = append(numbers, n)
		}
		if _, err := time.Parse(time.DateOnly, m[4]); err != nil {
			t.Errorf("%s: %v", h[1], err)
		}
		if newest == "" {
			newest = strings.Join(m[1:4], ".")
		} else if slices.Compare(numbers, previous) >= 0 || m[4] > previousDate {
			t.Errorf("%s comes after an older version or date", h[1])
		}
		previous, previousDate = numbers, m[4]
	}

	kinds := []string{"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
	for _, m := range matches(`(?m)^### (.*)$`, read(t, "CHANGELOG.md")) {
		if !slices.Contains(kinds, m[1]) {
			t.Errorf("section %q, want one of %q", m[1], kinds)
		}
	}

	var chart struct {
		Version    string `yaml:"version"`
		AppVersion string `yaml:"appVersion"`
	}
	text := read(t, "deploy/helm/s3redirect/Chart.yaml")
	if err := yaml.Unmarshal([]byte(text), &chart); err != nil {
		t.Fatal(err)
	}
	if chart.Version != newest || chart.AppVersion != newest {
		t.Errorf("the chart's version is %q and its appVersion %q, want %q, the newest in CHANGELOG.md",
			chart.Version, chart.AppVersion, newest)
	}
}
