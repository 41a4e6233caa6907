package partition

import "testing"

func TestPartitions(t *testing.T) {
	for _, p := range partitions {
		if got := Of(p.Home); got != p {
			t.Errorf("Of(%q) = %+v, want %+v", p.Home, got, p)
		}
		if got, ok := Named(p.Name); !ok || got != p {
			t.Errorf("Named(%q) = %+v, %v, want %+v, true", p.Name, got, ok, p)
		}
	}
	if got, ok := Named("aws-mars"); ok {
		t.Errorf("Named(aws-mars) = %+v, true, want false", got)
	}
}
