package cache
import ("testing";"net";"time";"context";"fmt")
func TestTmpHang(t *testing.T) {
	l, _ := net.Listen("tcp","127.0.0.1:0")
	go func(){ for { c, err := l.Accept(); if err != nil { return }; _ = c } }()
	v, _ := NewVault(VaultOptions{URL:"redis://"+l.Addr().String()+"/0", Keys: [][]byte{key(1)}, Clock: time.Now})
	b := time.Now(); _, err := v.Get(context.Background(), "x"); fmt.Println("HANG", time.Since(b), err)
}
