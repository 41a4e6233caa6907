package viewer

import "testing"

// A letter must not become the lower case of another letter: its user would become another user.
func TestLower(t *testing.T) {
	for name, want := range map[string]string{
		"Ann@Example.COM": "ann@example.com",
		"ÅSA":             "åsa",
		"ΩΘ":              "ωθ",
		"STRA\u1e9eE":     "straße", // ß has no other capital
		"\u01c4\u01c5":    "\u01c6\u01c6",
		"\u212aate":       "\u212aate", // KELVIN SIGN
		"\u0130da":        "\u0130da",  // I WITH DOT ABOVE
		"\u212bsa":        "\u212bsa",  // ANGSTROM SIGN
		"\u2126":          "\u2126",    // OHM SIGN
		"\u03f4":          "\u03f4",    // CAPITAL THETA SYMBOL
	} {
		if got := lower(name); got != want {
			t.Errorf("lower(%q) = %q, want %q", name, got, want)
		}
	}
}
