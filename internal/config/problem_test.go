package config

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

// Validate depends on the values only: a Config built in code has the same problems as a file.
func TestValidateDependsOnlyOnValues(t *testing.T) {
	c := &Config{
		Listen:      OneOrMore[string]{"127.0.0.1:8080"},
		AdminListen: OneOrMore[string]{"127.0.0.1:9090"},
		URLLifetime: 45 * time.Minute, MinRemaining: time.Hour, ReferrerPolicy: "no-referrer",
		Cache: Cache{URLs: 1, Credentials: 1}, Log: Log{Format: "xml"},
		Viewers: Viewers{Anonymous: true},
		Integrations: []*Integration{
			{Name: "a", Bucket: "bucket-a", AccessKeyID: "A",
				SecretAccessKey: "s", Region: "us-east-1", SessionPolicy: true,
				URLLifetime: 45 * time.Minute, MinRemaining: time.Hour},
			{Name: "a", Bucket: "bucket-a", Region: "moon", SessionPolicy: true,
				URLLifetime: 45 * time.Minute, MinRemaining: time.Hour},
		},
	}
	var got []string
	for _, p := range Validate(c) {
		got = append(got, fmt.Sprint(p.Key, ": ", p.Message(), " ", p.Others()))
	}
	want := []string{
		"log.format: the value is not a format; use json or text []",
		"min_remaining: min_remaining (1h) must be less than url_lifetime (45m): the difference is " +
			"how long a URL stays the same []",
		"integrations[1].name: the value is the name of the integration at integrations[0] too; " +
			"give each its own [integrations[0]]",
		"integrations[1]: a role_arn is needed, or, for a store without roles, " +
			"access_key_id and secret_access_key []",
		"integrations[1].region: the value is not a region; write it as us-east-1 []",
		"integrations[1].bucket: the value is a bucket of integration the value at " +
			"integrations[0].bucket already; let one integration serve each bucket " +
			"[integrations[0].name integrations[0].bucket]",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("Validate() =\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestValidateDoesNotChangeTheConfig(t *testing.T) {
	text, err := os.ReadFile("../../config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	parse := func() *Config {
		c, err := Parse("config.yaml", text, func(string) (string, bool) { return "value", true })
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := parse()
	if problems := Validate(c); len(problems) > 0 {
		t.Errorf("Validate() of the example = %v, want no problems", problems)
	}
	if want := parse(); !reflect.DeepEqual(c, want) {
		t.Errorf("Validate() changes the configuration to %+v, want %+v", c, want)
	}
}

// Message contains no invalid values. Source.Parse adds those that may be shown.
func TestMessagesContainNoValues(t *testing.T) {
	c := &Config{}
	var fill func(v reflect.Value)
	fill = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.String:
			v.SetString(canary)
		case reflect.Pointer:
			v.Set(reflect.New(v.Type().Elem()))
			fill(v.Elem())
		case reflect.Slice:
			v.Set(reflect.MakeSlice(v.Type(), 2, 2))
			for n := range v.Len() {
				fill(v.Index(n))
			}
		case reflect.Struct:
			for f, field := range v.Fields() {
				if f.Tag.Get("yaml") != "-" && f.IsExported() {
					fill(field)
				}
			}
		}
	}
	fill(reflect.ValueOf(c).Elem())
	problems := Validate(c)
	if len(problems) < 30 {
		t.Errorf("Validate() returns %d problems, want at least 30", len(problems))
	}
	for _, p := range problems {
		if hasCanary(p.Message()) {
			t.Errorf("the message for %s contains a value: %s", p.Key, p.Message())
		}
	}
}
