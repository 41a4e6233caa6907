# s3redirect behind Varnish. Start it with larger limits for the Location, which has up to 8 kB:
#
#   varnishd -f /etc/varnish/default.vcl -p http_resp_hdr_len=16k -p http_resp_size=64k
#
# Use it if config.yaml has viewers: {anonymous: true}, jwt, basic or links. This file removes the
# headers that name a viewer. Also set trusted_proxies in config.yaml. Otherwise rate limits and the
# access log use Varnish's address instead of the clients':
#
#   trusted_proxies: [127.0.0.1]
#
# In the VCL of a site, declare the backend after the site's own (the first one is the default), and
# put the subroutine before the site's vcl_recv, which then does not see these requests.
vcl 4.1;

backend s3redirect {
    .host = "127.0.0.1";
    .port = "8080";
}

sub vcl_recv {
    if (req.url ~ "^/s3/" || req.url ~ "^/presign$") {
        set req.backend_hint = s3redirect;
        # Varnish has appended the client's address to what the client sent.
        set req.http.X-Forwarded-For = client.ip;
        unset req.http.X-Auth-Request-Email;
        unset req.http.X-Auth-Request-Groups;
        # A redirect is for one viewer, and its URL is for one method. Without pass, Varnish sends
        # GET for HEAD, and the store rejects the URL.
        return (pass);
    }
}
