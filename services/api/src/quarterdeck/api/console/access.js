/** The API token of this tab. It lives in sessionStorage: gone with the tab, never in a URL, never in a cookie. */

const KEY = "quarterdeck.token";

export const access = {
  get token() {
    return sessionStorage.getItem(KEY);
  },

  keep(token) {
    sessionStorage.setItem(KEY, token);
  },

  forget() {
    sessionStorage.removeItem(KEY);
  },
};
