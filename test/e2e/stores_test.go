package e2e

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// candidate is a store that TestStores examines.
type candidate struct {
	*store
	settings string // of an integration, with a role if the store has AssumeRole
	env      []string
	roleARN  string
	caller   aws.Credentials // call AssumeRole
}

// candidates start the stores by their names, which head the columns in docs/stores/README.md.
var candidates = []struct {
	name  string
	start func(*testing.T) *candidate
}{
	{"MinIO", func(t *testing.T) *candidate {
		s := minio(t)
		return &candidate{s, withRole, s.env(), "arn:minio:iam:::role/reader", s.owner}
	}},
	{"Ceph", func(t *testing.T) *candidate {
		g := radosgw(t)
		return &candidate{&g.store, asTrusted, g.env(), g.roleARN, g.trusted}
	}},
	{"versitygw", func(t *testing.T) *candidate {
		s := versitygw(t)
		return &candidate{s, withKeys, s.env(), "arn:aws:iam:::role/reader", s.owner}
	}},
	{"SeaweedFS", func(t *testing.T) *candidate {
		s := seaweedfs(t)
		env := append(s.env(), "ROLE="+seaweedRole,
			"TRUSTED_KEY="+s.owner.AccessKeyID, "TRUSTED_SECRET="+s.owner.SecretAccessKey)
		return &candidate{s, asTrusted, env, seaweedRole, s.owner}
	}},
}

// behavior is a row of a table in docs/stores/README.md.
type behavior struct {
	name  string
	want  string // what every store must do; "" if the table only records what each does
	probe func(*suite) string
}

// behaviors are the tables in docs/stores/README.md.
var behaviors = []struct {
	title string
	rows  []behavior
}{
	{"What each store serves", served},
	{"Keys", keyBehaviors},
	{"What each store enforces", enforced},
}

// TestStores examines the stores through the proxy and with URLs that the proxy would not sign. It
// compares the results with the tables in docs/stores/README.md, and with UPDATE=1 it writes them.
// SeaweedFS takes part only if it is installed, which `make stores` does. The columns of stores
// that are not installed stay unchanged.
func TestStores(t *testing.T) {
	t.Parallel()
	var (
		mu      sync.Mutex
		results = map[string]map[string]string{} // by row and column
	)
	t.Run("examine", func(t *testing.T) {
		for _, c := range candidates {
			if _, err := find("weed"); c.name == "SeaweedFS" && err != nil {
				continue
			}
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				s := newSuite(t, c.start(t))
				for _, table := range behaviors {
					for _, row := range table.rows {
						got := row.probe(s)
						if row.want != "" && got != row.want {
							t.Errorf("%s: %s, want %s", row.name, got, row.want)
						}
						mu.Lock()
						if results[row.name] == nil {
							results[row.name] = map[string]string{}
						}
						results[row.name][c.name] = got
						mu.Unlock()
					}
				}
			})
		}
	})
	if !t.Failed() {
		compareStores(t, results)
	}
}

// compareStores compares the results with docs/stores/README.md, or writes them.
func compareStores(t *testing.T, results map[string]map[string]string) {
	t.Helper()
	const path, begin, end = "../../docs/stores/README.md", "<!-- stores -->\n", "<!-- /stores -->"
	page := readFile(t, path)
	i, j := strings.Index(page, begin), strings.Index(page, end)
	if i < 0 || j < i {
		t.Fatalf("%s has no %q before %q", path, begin, end)
	}
	i += len(begin)
	previous := readTables(page[i:j])
	var text strings.Builder
	for _, table := range behaviors {
		fmt.Fprintf(&text, "\n## %s\n\n| |", table.title)
		for _, c := range candidates {
			fmt.Fprintf(&text, " %s |", c.name)
		}
		text.WriteString("\n|---|" + strings.Repeat("---|", len(candidates)) + "\n")
		for _, row := range table.rows {
			fmt.Fprintf(&text, "| %s |", row.name)
			for _, c := range candidates {
				cell := cmp.Or(results[row.name][c.name], previous[row.name][c.name], "?")
				fmt.Fprintf(&text, " %s |", cell)
			}
			text.WriteByte('\n')
		}
	}
	text.WriteByte('\n')
	switch {
	case page[i:j] == text.String():
	case os.Getenv("UPDATE") == "":
		t.Errorf("the tables in docs/stores/README.md differ (UPDATE=1 writes them); want:\n%s",
			text.String())
	default:
		err := os.WriteFile(path, []byte(page[:i]+text.String()+page[j:]), 0o644)
		if err != nil {
			t.Fatal(err)
		}
	}
}

// readTables returns the cells of all tables in a page, by row and column.
func readTables(page string) map[string]map[string]string {
	cells := map[string]map[string]string{}
	var columns []string
	for line := range strings.Lines(page) {
		row := strings.Split(strings.Trim(line, "|\n"), "|")
		for i := range row {
			row[i] = strings.TrimSpace(row[i])
		}
		switch {
		case !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "|---"):
		case row[0] == "":
			columns = row
		default:
			cells[row[0]] = map[string]string{}
			for i := 1; i < min(len(row), len(columns)); i++ {
				cells[row[0]][columns[i]] = row[i]
			}
		}
	}
	return cells
}

// TestRowsOfStores checks that no two rows have the same name.
func TestRowsOfStores(t *testing.T) {
	t.Parallel()
	var names []string
	for _, table := range behaviors {
		for _, row := range table.rows {
			if slices.Contains(names, row.name) || strings.Contains(row.name, "|") {
				t.Errorf("the row %q is repeated or contains |", row.name)
			}
			names = append(names, row.name)
		}
	}
}
