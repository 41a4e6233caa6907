package document

import (
	"fmt"
	"regexp"
	"strings"

	"s3redirect/internal/policy"
)

func (r *Role) terraform() string {
	var b strings.Builder
	name := label(r.Name)
	role := literal(r.Name)
	if r.Trust != nil {
		fmt.Fprintf(&b, `resource "aws_iam_role" %q {
  name                 = %s
  path                 = %s
  max_session_duration = %d
  assume_role_policy = %s
}
`, name, literal(r.Name), literal(r.Path), int(r.MaxSession.Seconds()), jsonencode(r.Trust))
		role = "aws_iam_role." + name + ".name"
	}
	if r.Trust != nil && r.Access != nil {
		b.WriteString("\n")
	}
	if r.Access != nil {
		text := jsonencode(r.Access)
		fmt.Fprintf(&b, `resource "aws_iam_role_policy" %q {
  name%[2]s = %[3]q
  role%[2]s = %[4]s
  policy = %[5]s
}
`, label(r.accessID()), padding(text), r.accessName(), role, text)
	}
	if r.Trust != nil {
		fmt.Fprintf(&b, `
output "%s_arn" {
  value = aws_iam_role.%s.arn
}
`, name, name)
	}
	return b.String()
}

func terraformPolicy(name string, d policy.Document) string {
	text := jsonencode(d)
	return fmt.Sprintf(`resource "aws_iam_policy" %q {
  name%s = %s
  policy = %s
}
`, label(name), padding(text), literal(name), text)
}

func terraformCORS(buckets []string, rules []policy.CORSRule) string {
	var b strings.Builder
	for n, bucket := range buckets {
		if n > 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, `resource "aws_s3_bucket_cors_configuration" %q {
  bucket = %s
`, label(bucket), literal(bucket))
		for _, r := range rules {
			fmt.Fprintf(&b, `
  cors_rule {
    allowed_headers = %s
    allowed_methods = %s
    allowed_origins = %s
    expose_headers  = %s
    max_age_seconds = %d
  }
`, literal(r.AllowedHeaders), literal(r.AllowedMethods), literal(r.AllowedOrigins),
				literal(r.ExposeHeaders), r.MaxAgeSeconds)
		}
		b.WriteString("}\n")
	}
	return b.String()
}

// escapeTemplate escapes ${ and %{, which begin a template expression in Terraform strings.
var escapeTemplate = strings.NewReplacer("${", "$${", "%{", "%%{")

// jsonKey matches an object key at the beginning of a line.
var jsonKey = regexp.MustCompile(`(?m)^( *"[^"\\]*"): `)

// jsonencode returns a Terraform expression that evaluates to v as JSON. JSON is valid Terraform
// syntax; the spaces are those that terraform fmt writes. Terraform does not escape characters
// outside ASCII, as IAM requires, so a value with some is a heredoc.
func jsonencode(v any) string {
	text := strings.TrimSuffix(escapeTemplate.Replace(indented(v, "  ")), "\n")
	if strings.Contains(text, `\u`) {
		return heredoc + "\n  " + text + "\n  POLICY"
	}
	return "jsonencode(" + jsonKey.ReplaceAllString(text, "$1 : ") + ")"
}

// literal returns a string, or a list of strings, as a Terraform literal.
func literal(v any) string {
	return strings.ReplaceAll(escapeTemplate.Replace(compact(v)), `","`, `", "`)
}

const heredoc = "<<-POLICY"

// padding returns the spaces after the names of the attributes before a policy. terraform fmt aligns
// them with a heredoc, but not with other values of several lines.
func padding(value string) string {
	if strings.HasPrefix(value, heredoc) {
		return "  "
	}
	return ""
}

var notLabel = regexp.MustCompile(`[^A-Za-z0-9_-]`)

// label returns name as a Terraform resource label, which begins with a letter.
func label(name string) string {
	name = strings.TrimPrefix(name, "s3redirect-")
	return "s3redirect_" + notLabel.ReplaceAllString(name, "_")
}
