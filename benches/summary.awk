# summary.awk: summarises a results file of compare.sh. For each load, figure and side it prints, separated by tabs:
#
#	load figure unit side rounds median least most
#
# For rates, times and memory there are also lines for ours/peer and ours/floor: the ratio of the two runs of a round, inverted
# if necessary so that more than 1 is better for ours. A side that was stuck has a line with the number of such rounds. The
# names of the sides are those of -v ours=NAME -v others='NAME ...'.

BEGIN {
	FS = OFS = "\t"
	OFMT = "%.10g"
}

/^#/ || $1 == "round" { next }

{
	key = $3 FS $4 FS $5
	if (!(key in known)) {
		known[key] = 1
		keys[++nkey] = key
	}
	value[key, $2, $1] = $6
	if ($1 > rounds)
		rounds = $1
}

# v[1..n], from the least to the most
function sort(   i, j, t) {
	for (i = 2; i <= n; i++)
		for (j = i; j > 1 && v[j] < v[j - 1]; j--) {
			t = v[j]
			v[j] = v[j - 1]
			v[j - 1] = t
		}
}

function tell(key, side) {
	if (n == 0)
		return
	sort()
	print key, side, n, (v[int((n + 1) / 2)] + v[int(n / 2) + 1]) / 2, v[1], v[n]
}

function ratio(key, other,   i, a, b, part) {
	split(key, part, FS)
	n = 0
	for (i = 1; i <= rounds; i++)
		if (((key, ours, i) in value) && ((key, other, i) in value)) {
			a = value[key, ours, i]
			b = value[key, other, i]
			if (a > 0 && b > 0)
				v[++n] = part[3] ~ /\/s$/ ? a / b : b / a
		}
	tell(key, ours "/" other)
}

END {
	nside = split(ours " " others, side, " ")
	for (k = 1; k <= nkey; k++) {
		for (s = 1; s <= nside; s++) {
			n = 0
			for (i = 1; i <= rounds; i++)
				if ((keys[k], side[s], i) in value)
					v[++n] = value[keys[k], side[s], i] + 0
			tell(keys[k], side[s])
		}
		if (keys[k] ~ /\t([a-z]*\/s|ns\/[a-z]*|us|bytes\/.*)$/)
			for (s = 2; s <= nside; s++)
				ratio(keys[k], side[s])
	}
}
