// From words to degrees of the model's classes, by the phrase book alone: exact phrases, with one misspelling
// allowed in a word (two in long words), joined by "and" and commas, or after "everything but".

const ARTICLES = /^(?:an?|the|some)\s+/;
const EVERYTHING_BUT = /^(?:everything|all)\s+(?:but|except|without)\s+|^(?:without|remove|no)\s+/;

export function key(text) {
  const plain = text.toLowerCase().replace(/[’‘`´]/g, "'").replace(/\s+/g, " ").replace(/^[\s.,!?;:"']+|[\s.,!?;:"']+$/g, "");
  return plain.replace(ARTICLES, "");
}

// Edits between two words, where a swap of neighbours counts one (optimal string alignment).
export function edits(first, second) {
  let [older, before] = [[], Array.from({ length: second.length + 1 }, (_, place) => place)];
  for (let row = 1; row <= first.length; row++) {
    const now = [row];
    for (let column = 1; column <= second.length; column++) {
      const same = first[row - 1] === second[column - 1];
      let least = Math.min(before[column] + 1, now[column - 1] + 1, before[column - 1] + (same ? 0 : 1));
      const swapped = row > 1 && column > 1 && first[row - 1] === second[column - 2] && first[row - 2] === second[column - 1];
      if (swapped) least = Math.min(least, older[column - 2] + 1);
      now.push(least);
    }
    [older, before] = [before, now];
  }
  return before[second.length];
}

export class Book {
  // labels: of the degrees, "other" last. entries: {name, members: places in labels, phrases}.
  constructor({ labels, entries }) {
    this.labels = labels;
    this.entries = entries;
    this.owners = new Map();
    this.counts = new Map();
    entries.forEach((entry, number) => {
      for (const phrase of entry.phrases) {
        const plain = key(phrase);
        if (!this.owners.has(plain)) this.owners.set(plain, new Set());
        this.owners.get(plain).add(number);
        for (const word of plain.split(" ")) this.counts.set(word, (this.counts.get(word) ?? 0) + 1);
      }
    });
  }

  // {degrees, names} of the words, or {unknown} with the part that is no phrase.
  read(text) {
    const plain = key(text);
    const complement = EVERYTHING_BUT.exec(plain);
    const asked = complement && !this.owners.has(plain) ? key(plain.slice(complement[0].length)) : plain;
    const degrees = new Float32Array(this.labels.length);
    const names = [];
    for (const part of this.owners.has(asked) ? [asked] : asked.split(/\s*,\s*(?:and\s+|or\s+)?|\s+(?:and|or|&)\s+/)) {
      const owners = this.ownersOf(key(part));
      if (!owners) return { unknown: part };
      for (const owner of owners) for (const member of this.entries[owner].members) degrees[member] = 1;
      names.push([...owners].map((owner) => this.entries[owner].name).join(" or "));
    }
    if (asked !== plain) return { degrees: degrees.map((degree) => 1 - degree), names: [`everything but ${names.join(" + ")}`] };
    return { degrees, names };
  }

  ownersOf(phrase) {
    return this.owners.get(phrase) ?? this.owners.get(phrase.split(" ").map((word) => this.corrected(word)).join(" "));
  }

  corrected(word) {
    if (this.counts.has(word) || word.length < 3) return word;
    const most = word.length <= 6 ? 1 : 2;
    let best = [Infinity, 0, word];
    for (const [known, count] of this.counts) {
      if (Math.abs(known.length - word.length) > most) continue;
      const distance = edits(word, known) + (known[0] === word[0] ? 0 : 0.5);
      if (distance <= most + 0.5 && (distance < best[0] || (distance === best[0] && count > best[1]))) best = [distance, count, known];
    }
    return best[2];
  }
}
