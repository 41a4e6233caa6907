package document

import (
	"fmt"
	"regexp"
	"strings"

	"s3redirect/internal/policy"
)

func (r *Role) cli() string {
	var b strings.Builder
	if r.Trust != nil {
		fmt.Fprintf(&b, "aws iam create-role --role-name %s --path %s "+
			"--max-session-duration %d \\\n  --assume-role-policy-document %s\n",
			quote(r.Name), quote(r.Path), int(r.MaxSession.Seconds()), quote(compact(r.Trust)))
	}
	if r.Access != nil {
		fmt.Fprintf(&b, "aws iam put-role-policy --role-name %s --policy-name %s \\\n"+
			"  --policy-document %s\n",
			quote(r.Name), r.accessName(), quote(compact(r.Access)))
	}
	return b.String()
}

func cliPolicy(name string, d policy.Document) string {
	return fmt.Sprintf("aws iam create-policy --policy-name %s \\\n  --policy-document %s\n",
		quote(name), quote(compact(d)))
}

func cliCORS(buckets []string, rules []policy.CORSRule, endpoint string) string {
	endpointFlag := ""
	if endpoint != "" {
		endpointFlag = " --endpoint-url " + quote(endpoint)
	}
	configuration := quote(compact(map[string]any{"CORSRules": rules}))
	var b strings.Builder
	for _, bucket := range buckets {
		fmt.Fprintf(&b, "aws s3api put-bucket-cors%s --bucket %s \\\n  --cors-configuration %s\n",
			endpointFlag, quote(bucket), configuration)
	}
	return b.String()
}

// quote quotes a word for a POSIX shell.
func quote(s string) string {
	if plainWord.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_./:@%+=,-]+$`)
