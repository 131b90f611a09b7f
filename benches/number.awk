# number.awk: how figures are written, for tables.

# three figures are what the spread leaves to be believed, with commas between thousands
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
