# number.awk: formats figures for tables.

# returns x with three digits, since the spread makes further ones meaningless, and with commas between thousands
function number(x,   s, scale, out) {
	if (x < 10)
		return sprintf("%.2f", x)
	if (x < 100)
		return sprintf("%.1f", x)
	for (scale = 1; x / scale >= 1000; scale *= 10)
		;
	s = sprintf("%d", int(x / scale + .5) * scale)
	for (out = ""; length(s) > 3; s = substr(s, 1, length(s) - 3))
		out = "," substr(s, length(s) - 2) out
	return s out
}
