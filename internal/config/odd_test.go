package config

import (
	"strings"
	"testing"
)

// However a file is written, adding to it takes nothing away but the word or brackets that say that there is no integration.
func TestAppendToOddFiles(t *testing.T) {
	const (
		head = "listen: 127.0.0.1:8080\nviewers: {anonymous: true}\n"
		flow = "{name: a, bucket: bucket-a, region: eu-central-1, access_key_id: A, secret_access_key: s}"
		item = "name: a\n    bucket: bucket-a\n    region: eu-central-1\n    access_key_id: A\n    secret_access_key: s\n"
		list = head + "integrations:\n  - " + item
	)
	windows := func(text string) string { return strings.ReplaceAll(text, "\n", "\r\n") }
	longSecret := func(secret string) string {
		return strings.Replace(list, "secret_access_key: s\n", secret, 1) + "# end\n"
	}
	for name, c := range map[string]struct{ text, gone string }{
		"null":                               {head + "integrations: null\n", " null"},
		"null, with a comment and more keys": {head + "integrations: null # none yet\nurl_lifetime: 45m\n", " null"},
		"null on a line of its own":          {head + "integrations:\n  null\n", "  null"},
		"a tilde, and no end of the line":    {head + "integrations: ~", " ~"},
		"nothing, with a comment":            {head + "integrations: # none yet\n\n# after\nurl_lifetime: 45m\n", ""},
		"null, Windows":                      {windows(head + "integrations: Null\n"), " Null"},
		"an empty list":                      {head + "integrations: [] # none\nurl_lifetime: 45m\n", " []"},
		"an empty list with a blank":         {head + "integrations: [ ]\n", ""},
		"an empty list on two lines":         {head + "integrations: [\n]\n", ""},
		"an empty list with a comment in it": {head + "integrations: [ # none\n]\n", ""},
		"no list":                            {strings.TrimSuffix(head, "\n"), ""},
		"no end of the last line":            {strings.TrimSuffix(list, "\n"), ""},
		"no end of the last line, Windows":   {strings.TrimSuffix(windows(list), "\r\n"), ""},
		"Windows":                            {windows(list + "# end\n"), ""},
		"a byte order mark":                  {"\ufeff" + list, ""},
		"tabs in comments":                   {strings.Replace(list, "bucket-a\n", "bucket-a\t# of\tours\t\n", 1) + "    #\tits\tlast\n#\tend\t\n", ""},
		"very long comments":                 {list + "    # " + strings.Repeat("long ", 50_000) + "\n# " + strings.Repeat("x", 100_000) + "\n", ""},
		"the key in quotes":                  {strings.Replace(list, "integrations:", "\"integrations\":", 1), ""},
		"not the last key":                   {"integrations:\n- " + strings.ReplaceAll(item, "\n    ", "\n  ") + "\n\n# the rest\n" + head, ""},
		"a dash on its own line":             {strings.Replace(list, "- name", "-\n    name", 1), ""},
		"document marks":                     {"---\n" + list + "...\n", ""},
		"an item in braces":                  {head + "integrations:\n  - " + flow + " # c\nurl_lifetime: 45m\n", ""},
		"an item in braces, on two lines":    {head + "integrations:\n  - " + strings.Replace(flow, ", region", ",\n     region", 1) + "\nurl_lifetime: 45m\n", ""},
		"a list in brackets":                 {"# one\n\n\n" + strings.Replace(head, "\n", "   # kept\n\n", 1) + "integrations: [" + flow + "] # all\n\n\n# end\n", ""},
		"a bracket of its own":               {head + "integrations: [\n    " + flow + "\n  ]\nurl_lifetime:   45m\n", ""},
		"a bracket after a comma":            {head + "integrations: [\n  " + flow + ",\n  ]\n", ""},
		"a bracket after a comma, Windows":   {windows(head + "integrations: [\n  " + flow + ",\n  ]\n"), ""},
		"comments within brackets":           {head + "integrations: [ # a\n  # b ]\n  " + strings.Replace(flow, ", region", ", # c ]\n  region", 1) + " # d\n]\n", ""},
		"brackets within brackets":           {head + "integrations: [{name: a, permitted_buckets: [bucket-a, bucket-b], region: eu-central-1, access_key_id: \"]\", secret_access_key: s}]\n", ""},
		"everything in braces":               {"{listen: \"127.0.0.1:8080\", viewers: {anonymous: true}, integrations: [" + flow + "]}\n", ""},
		"a text over two lines":              {longSecret("secret_access_key: s\n      t\n"), ""},
		"a text in quotes over two lines":    {longSecret("secret_access_key: \"s\n\n      # t\"\n"), ""},
		"a block of text":                    {longSecret("secret_access_key: |-\n      s\n      # t\n\n\n"), ""},
		"comments behind the list":           {list + "  # of the list\n\n  # two\n\n# of the next\nurl_lifetime: 45m\n", ""},
	} {
		added, err := Append("config.yaml", []byte(c.text), lab(), noEnv)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		kept := strings.Replace(c.text, c.gone, "", 1)
		first, last := 0, 0
		for first < len(kept) && kept[first] == added[first] {
			first++
		}
		for last < len(kept)-first && kept[len(kept)-1-last] == added[len(added)-1-last] {
			last++
		}
		if first+last < len(kept) {
			t.Errorf("%s: %q is gone:\n%s", name, kept[first:len(kept)-last], added)
		}
		if strings.HasPrefix(c.text, windows(head)) && strings.Count(string(added), "\n") != strings.Count(string(added), "\r\n") {
			t.Errorf("%s: lines end in two ways: %q", name, added)
		}
		if again, err := Append("config.yaml", added, &Integration{Name: "third", Bucket: "third-bucket", Region: "eu-central-1", AccessKeyID: "A", SecretAccessKey: "s", SessionPolicy: true}, noEnv); err != nil {
			t.Errorf("%s: not a second time: %v\n%s\n%s", name, err, added, again)
		}
	}
}
