package onboard

import (
	"errors"
	"strings"

	"s3redirect/internal/config"
)

// SignIn is a way to identify clients, for a new configuration.
type SignIn struct {
	Kind      string // the key of viewers
	About     string // what identifies a client
	Page      string // the page of the documentation with recipes
	Questions []SignInQuestion
}

// SignInQuestion asks for the text of a key of a [SignIn].
type SignInQuestion struct {
	Question
	Optional bool
	List     bool // the items are separated by white space
	Secret   bool // the answer names an environment variable
}

// signIns are the ways to identify clients. Headers have no default: a client could set one that
// the reverse proxy does not.
var signIns = []SignIn{
	{
		Kind:  "forwarded",
		About: "headers of a sign-in proxy in front, such as oauth2-proxy",
		Page:  "docs/sign-in",
		Questions: []SignInQuestion{
			{Question: Question{Key: "user_header", Label: "User header",
				Hint: "The header with the user, which the reverse proxy sets on every request, such as " +
					"X-Auth-Request-Email."}},
			{Question: Question{Key: "groups_header", Label: "Groups header",
				Hint: "The header with the user's groups, such as X-Auth-Request-Groups. If you name " +
					"one, the reverse proxy must set it on every request."}, Optional: true},
			{Question: Question{Key: "trusted_proxies", Label: "Trusted proxies",
				Hint: "The addresses or blocks from which the reverse proxy connects, separated by " +
					"blanks, such as 127.0.0.1 or 10.0.0.0/8."}, List: true},
		},
	},
	{
		Kind:  "jwt",
		About: "tokens of an OpenID Connect provider",
		Page:  "docs/sign-in",
		Questions: []SignInQuestion{
			{Question: Question{Key: "issuer", Label: "Issuer",
				Hint: "The tokens' iss, exactly, such as https://id.example.com."}},
			{Question: Question{Key: "audience", Label: "Audience",
				Hint: "The tokens' aud: the client ID of your application. Separate several by " +
					"blanks."}, List: true},
			{Question: Question{Key: "cookie", Label: "Cookie",
				Hint: "The cookie that holds the token, so that <img> works. Without one, clients " +
					"send Authorization: Bearer."}, Optional: true},
		},
	},
	{
		Kind:  "basic",
		About: "users and passwords in a file",
		Page:  "docs/viewers.md#basic",
		Questions: []SignInQuestion{
			{Question: Question{Key: "htpasswd_file", Label: "Password file",
				Hint: "Its path. htpasswd -B -c FILE USER makes it, and the user of the service must " +
					"be able to read it."}},
		},
	},
	{
		Kind:  "links",
		About: "signed links that your application hands out",
		Page:  "docs/viewers.md#links",
		Questions: []SignInQuestion{
			{Question: Question{Key: "id", Label: "Key ID", Default: "k1",
				Hint: "Part of each link, so that keys can be rotated."}},
			{Question: Question{Key: "secret", Label: "Secret of the key",
				Hint: "The environment variable that holds it, such as LINK_KEY, with what openssl " +
					"rand -base64 32 prints."}, Secret: true},
		},
	},
}

// SignIns returns the ways to identify clients.
func SignIns() []SignIn { return signIns }

// Viewers returns the content of the key viewers for the answers, which are texts by key.
func (s *SignIn) Viewers(answers map[string]string) map[string]any {
	content := map[string]any{}
	for _, q := range s.Questions {
		switch text := answers[q.Key]; {
		case text == "":
		case q.List:
			content[q.Key] = strings.Fields(text)
		default:
			content[q.Key] = text
		}
	}
	if s.Kind == "links" {
		content = map[string]any{"keys": []any{content}}
	}
	return map[string]any{s.Kind: content}
}

// Check returns what is wrong with the answer to the question about a key, given the answers before.
func (s *SignIn) Check(
	answers map[string]string, key, answer string, getenv func(string) (string, bool),
) error {
	content := s.Viewers(with(answers, key, answer))
	text := config.NewFile("127.0.0.1:8080", "127.0.0.1:9090", content)
	_, err := config.New("new.yaml", text).Parse(getenv)
	all, _ := errors.AsType[config.Errors](err)
	for _, e := range all {
		path, _, _ := strings.Cut(strings.ReplaceAll(e.Key, "keys[0]", "keys"), "[")
		if strings.HasPrefix(path, "viewers."+s.Kind+".") && strings.HasSuffix(path, "."+key) {
			return errors.New(e.Problem)
		}
	}
	return nil
}
