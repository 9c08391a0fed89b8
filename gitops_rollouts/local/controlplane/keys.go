package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// writeKeys fills one folder with what the API server needs to be trusted: a certificate authority, a
// serving certificate for 127.0.0.1 and the key that signs service account tokens.
func writeKeys(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: local-keys FOLDER")
	}
	folder := args[0]
	authorityKey, err := newKey(filepath.Join(folder, "ca.key"))
	if err != nil {
		return err
	}
	authority := certificate(1, "gitops-rollouts local control plane")
	authority.IsCA = true
	authority.BasicConstraintsValid = true
	authority.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	if err := sign(filepath.Join(folder, "ca.crt"), authority, authority, authorityKey, authorityKey); err != nil {
		return err
	}
	servingKey, err := newKey(filepath.Join(folder, "apiserver.key"))
	if err != nil {
		return err
	}
	serving := certificate(2, "kube-apiserver")
	serving.KeyUsage = x509.KeyUsageDigitalSignature
	serving.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	serving.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv4(10, 0, 0, 1)}
	serving.DNSNames = []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}
	if err := sign(filepath.Join(folder, "apiserver.crt"), serving, authority, servingKey, authorityKey); err != nil {
		return err
	}
	_, err = newKey(filepath.Join(folder, "service-account.key"))
	return err
}

func certificate(serial int64, name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().AddDate(10, 0, 0),
	}
}

func newKey(path string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600)
}

func sign(path string, leaf, parent *x509.Certificate, leafKey, parentKey *ecdsa.PrivateKey) error {
	der, err := x509.CreateCertificate(rand.Reader, leaf, parent, leafKey.Public(), parentKey)
	if err != nil {
		return err
	}
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644)
}
